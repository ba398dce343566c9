"""The svm head: a matrix if its kernel is linear, else a kernel machine in tensors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from transferkit.export._refusal import refused
from transferkit.export.heads._tensors import (
    LinearHead,
    TensorHead,
    squared_distances,
    two_columns,
)
from transferkit.heads import linear_map as coefficients_of
from transferkit.tasks import Task

__all__ = ["convert", "linear_map"]


def linear_map(head: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Coefficients and intercepts on the features as given; None for an RBF kernel.

    None for calibrated probabilities too, which are no softmax of linear scores.
    """
    return None if getattr(head, "probability", False) else coefficients_of(head)


def convert(head: Any, task: Task) -> TensorHead:
    """Make tensors of a fitted head.

    Raises
    ------
    ValueError
        If its probabilities were calibrated.
    """
    if getattr(head, "probability", False):
        raise refused(head, "its probabilities come from a calibration")
    coef_and_intercept = linear_map(head)
    if coef_and_intercept is not None:
        return LinearHead("scores" if task.has_classes else "values", task, *coef_and_intercept)
    return KernelMachine(head, task)


class KernelMachine(TensorHead):
    """The RBF machines: scikit-learn's exact ones, and ours by least squares."""

    mean: Tensor
    scale: Tensor
    rows: Tensor
    matrix: Tensor
    intercept: Tensor
    wins: Tensor
    losses: Tensor
    target_mean: Tensor
    target_scale: Tensor

    def __init__(self, head: Any, task: Task) -> None:
        is_classifier = task.has_classes
        super().__init__("scores" if is_classifier else "values")
        self.gamma = float(head.gamma_)
        self.keep("mean", head.mean_)
        self.keep("scale", head.scale_)
        if head.solver_ == "exact":
            machines = [head.machine_] if is_classifier else head.machines_
            rows, matrix, intercept = _exact(machines)
        else:
            rows, matrix, intercept = head.landmarks_, head.dual_coef_.T, head.intercept_
        self.n_classes = len(head.classes_) if is_classifier else 0
        self.is_paired = head.solver_ == "exact" and self.n_classes > 2
        self.keep("rows", rows)
        self.keep("matrix", matrix)
        self.keep("intercept", intercept)
        self.keep("target_mean", getattr(head, "target_mean_", 0.0))
        self.keep("target_scale", getattr(head, "target_scale_", 1.0))
        if self.is_paired:
            self.has_jumps = True  # votes are counted
            wins, losses = _pairs(self.n_classes)
            self.keep("wins", wins)
            self.keep("losses", losses)

    def forward(self, rows: Tensor) -> Tensor:
        rows = (rows - self.mean) / self.scale
        kernel = (-self.gamma * squared_distances(rows, self.rows)).exp()
        scores = kernel @ self.matrix + self.intercept
        if self.is_paired:
            return self._from_pairs(scores)
        if self.n_classes == 2:
            return two_columns(scores)
        return scores if self.n_classes else scores * self.target_scale + self.target_mean

    def _from_pairs(self, decisions: Tensor) -> Tensor:
        """Count the votes of the one-against-one machines, with ties broken by their decisions.

        As scikit-learn's ``_ovr_decision_function`` does it: a vote for each pair that a
        class wins, and less than a third of a vote for the sum of its decisions.
        """
        first_wins = (decisions >= 0).to(decisions.dtype)
        votes = first_wins @ self.wins + (1 - first_wins) @ self.losses
        sure = decisions @ (self.wins - self.losses)
        return votes + sure / (3 * (sure.abs() + 1))


def _exact(machines: Sequence[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Support vectors, and the matrix from kernel values to decisions, a column for each."""
    if len(machines) > 1 or len(machines[0].dual_coef_) == 1:
        rows = np.concatenate([m.support_vectors_ for m in machines])
        matrix = np.zeros((len(rows), len(machines)))
        ends = np.cumsum([0, *(len(m.support_vectors_) for m in machines)])
        for number, (first, last) in enumerate(pairwise(ends.tolist())):
            matrix[first:last, number] = machines[number].dual_coef_[0]
        return rows, matrix, np.concatenate([m.intercept_ for m in machines])
    machine = machines[0]
    ends = np.cumsum([0, *machine.n_support_])
    parts = [slice(a, b) for a, b in pairwise(ends.tolist())]
    columns = []
    for i in range(len(parts)):
        for j in range(i + 1, len(parts)):
            column = np.zeros(len(machine.support_vectors_))
            # libsvm keeps a class's coefficients against each other one in n_classes - 1 rows.
            column[parts[i]] = machine.dual_coef_[j - 1, parts[i]]
            column[parts[j]] = machine.dual_coef_[i, parts[j]]
            columns.append(column)
    return machine.support_vectors_, np.stack(columns, axis=1), machine.intercept_


def _pairs(n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """For each pair of classes, in libsvm's order, the winning and the losing class."""
    pairs = [(i, j) for i in range(n_classes) for j in range(i + 1, n_classes)]
    first, second = np.zeros((2, len(pairs), n_classes))
    for row, (i, j) in enumerate(pairs):
        first[row, i] = second[row, j] = 1
    return first, second
