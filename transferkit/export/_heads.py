"""Fitted heads as plain tensor operations: rows of features → probabilities, scores or values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.heads import centroid, knn, lda, linear, mlp, ridge, svm

__all__ = ["TensorHead", "linear_map", "tensor_head"]

_LINEAR = (
    linear.Classifier,
    lda.Classifier,
    ridge.Classifier,
    ridge.Regressor,
    svm.Classifier,
    svm.Regressor,
)


def linear_map(head: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Coefficients and intercepts on the features as given, if the head is no more than that.

    Parameters
    ----------
    head : estimator
        Fitted.

    Returns
    -------
    (ndarray of shape (n_outputs, n_features), ndarray of shape (n_outputs,)) or None
        In float64; a classifier of two classes has one row, the second's against 0.
    """
    if not isinstance(head, _LINEAR):
        return None
    is_machine = isinstance(head, svm.Classifier | svm.Regressor)
    if is_machine and (head.solver_ != "linear" or getattr(head, "probability", False)):
        return None
    coef = np.atleast_2d(np.asarray(head.coef_, np.float64))
    intercept = np.atleast_1d(np.asarray(head.intercept_, np.float64))
    if is_machine:  # standardises before, where the others have folded that in
        coef = coef / head.scale_
        intercept = intercept - coef @ head.mean_
    if isinstance(head, svm.Regressor):
        scale = np.atleast_1d(head.target_scale_)
        coef, intercept = coef * scale[:, None], intercept * scale + head.target_mean_
    return coef, intercept


class TensorHead(nn.Module):
    """A head as a module; `kind` says what it gives.

    Parameters
    ----------
    kind : {"probabilities", "scores", "values"}
        What `forward` returns, ``(B, n_outputs)``. A classifier of two classes without
        probabilities gives 0 for the first and its score for the second.
    has_jumps : bool, default=False
        Whether a small change of the features can be a large one of the output.
    """

    def __init__(self, kind: str, *, has_jumps: bool = False) -> None:
        super().__init__()
        self.kind = kind
        self.has_jumps = has_jumps

    def keep(self, name: str, value: Any) -> None:
        """Register an array of the head as a float32 constant."""
        self.register_buffer(name, torch.tensor(np.asarray(value, np.float32)))


def tensor_head(head: Any, task: str) -> TensorHead | None:
    """Make a module of a fitted head, or None where it isn't one of ours that can be.

    Parameters
    ----------
    head : estimator
        Fitted.
    task : str
        One of `transferkit.artifacts.TASKS`.
    """
    found = linear_map(head)
    if found is not None:
        return _Linear(head, task, *found)
    if isinstance(head, centroid.Classifier):
        return _Centroid(head)
    if isinstance(head, mlp.Classifier | mlp.Regressor):
        return _Network(head, task)
    if isinstance(head, knn.Classifier | knn.Regressor):
        return _Neighbors(head, task)
    if isinstance(head, svm.Classifier | svm.Regressor) and not getattr(head, "probability", False):
        return _Kernel(head)
    return None


def _activated(scores: Tensor, task: str) -> Tensor:
    if task == "regression":
        return scores
    return scores.sigmoid() if task == "multilabel" else scores.softmax(dim=1)


def _two_columns(scores: Tensor) -> Tensor:
    """The second class's score against 0, as a score for each."""
    return torch.cat((torch.zeros_like(scores), scores), dim=1)


class _Linear(TensorHead):
    def __init__(self, head: Any, task: str, coef: np.ndarray, intercept: np.ndarray) -> None:
        has_proba = isinstance(head, linear.Classifier | lda.Classifier)
        without = "values" if task == "regression" else "scores"
        super().__init__("probabilities" if has_proba else without)
        self.task = task
        self.keep("coef", coef.T)
        self.keep("intercept", intercept)

    def forward(self, rows: Tensor) -> Tensor:
        scores = rows @ self.coef + self.intercept
        if self.task == "classification" and scores.shape[1] == 1:
            scores = _two_columns(scores)
        return _activated(scores, self.task) if self.kind == "probabilities" else scores


def _unit(rows: Tensor) -> Tensor:
    largest = rows.abs().amax(dim=1, keepdim=True)
    scaled = rows / torch.where(largest > 0, largest, 1.0)
    length = scaled.square().sum(dim=1, keepdim=True).sqrt()
    return scaled / torch.where(length > 0, length, 1.0)


def _squared_distances(rows: Tensor, others: Tensor) -> Tensor:
    # |a - b|² = |a|² - 2ab + |b|²
    products = rows @ others.T
    lengths = rows.square().sum(dim=1, keepdim=True)
    return (lengths - 2 * products + others.square().sum(dim=1)).clamp(min=0)


class _Centroid(TensorHead):
    def __init__(self, head: Any) -> None:
        super().__init__("probabilities")
        self.temperature = float(head.temperature)
        self.keep("mean", head.mean_)
        self.keep("centroids", head.centroids_)

    def forward(self, rows: Tensor) -> Tensor:
        distances = _squared_distances(_unit(rows - self.mean), self.centroids)
        return (-distances / self.temperature).softmax(dim=1)


class _Network(TensorHead):
    def __init__(self, head: Any, task: str) -> None:
        super().__init__("values" if task == "regression" else "probabilities")
        self.task = task
        self.n_layers = len(head.layers_)
        self.keep("mean", head.mean_)
        self.keep("scale", head.scale_)
        for number, (matrix, bias) in enumerate(head.layers_):
            self.keep(f"matrix{number}", matrix)
            self.keep(f"bias{number}", bias)
        self.keep("target_mean", getattr(head, "target_mean_", 0.0))
        self.keep("target_scale", getattr(head, "target_scale_", 1.0))

    def forward(self, rows: Tensor) -> Tensor:
        rows = (rows - self.mean) / self.scale
        for number in range(self.n_layers):
            rows = rows @ getattr(self, f"matrix{number}") + getattr(self, f"bias{number}")
            if number < self.n_layers - 1:
                rows = rows.relu()
        if self.task == "regression":
            return rows * self.target_scale + self.target_mean
        return _activated(rows, self.task)


class _Neighbors(TensorHead):
    def __init__(self, head: Any, task: str) -> None:
        super().__init__("values" if task == "regression" else "probabilities", has_jumps=True)
        self.k, self.is_cosine = int(head.k_), head.metric == "cosine"
        self.weights, self.temperature = head.weights, float(head.temperature)
        self.keep("mean", head.mean_)
        self.keep("stored", head.X_)
        y = head.y_
        if task == "classification":
            y = np.eye(len(head.classes_))[y]
        self.keep("answers", y.reshape(len(y), -1))

    def forward(self, rows: Tensor) -> Tensor:
        rows = rows - self.mean
        if self.is_cosine:
            rows = _unit(rows)
        distances = _squared_distances(rows, self.stored)
        squared, index = distances.topk(self.k, dim=1, largest=False)
        votes = self._votes(squared)
        votes = votes / votes.sum(dim=1, keepdim=True)
        return (votes.unsqueeze(2) * self.answers[index]).sum(dim=1)

    def _votes(self, squared: Tensor) -> Tensor:
        if self.weights == "softmax":
            return ((squared[:, :1] - squared) / (2 * self.temperature)).exp()
        if self.weights == "uniform":
            return torch.ones_like(squared)
        distance = squared.sqrt()
        same = distance == 0  # rows that are the query itself decide alone
        shares = 1 / torch.where(same, 1.0, distance)
        return torch.where(same.any(dim=1, keepdim=True), same.to(shares.dtype), shares)


class _Kernel(TensorHead):
    """The RBF machines: scikit-learn's exact ones, and the linear ones on landmarks."""

    def __init__(self, head: Any) -> None:
        is_classifier = isinstance(head, svm.Classifier)
        super().__init__("scores" if is_classifier else "values")
        self.gamma = float(head.gamma_)
        self.keep("mean", head.mean_)
        self.keep("scale", head.scale_)
        if head.solver_ == "exact":
            machines = [head.machine_] if is_classifier else head.machines_
            rows, matrix, intercept = _exact(machines)
        else:
            rows = head.kernel_map_.components_
            # The features are K @ normalization.T, and the scores of them linear.
            matrix = head.kernel_map_.normalization_.T @ np.atleast_2d(head.coef_).T
            intercept = head.intercept_
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
        kernel = (-self.gamma * _squared_distances(rows, self.rows)).exp()
        scores = kernel @ self.matrix + self.intercept
        if self.is_paired:
            return self._from_pairs(scores)
        if self.n_classes == 2:
            return _two_columns(scores)
        return scores if self.n_classes else scores * self.target_scale + self.target_mean

    def _from_pairs(self, decisions: Tensor) -> Tensor:
        """Votes of the one-against-one machines, ties settled by how sure they were.

        As scikit-learn's ``_ovr_decision_function`` does it: a vote for each pair that a
        class wins, and less than a third of a vote for the sum of its decisions.
        """
        first_wins = (decisions >= 0).to(decisions.dtype)
        votes = first_wins @ self.wins + (1 - first_wins) @ self.losses
        sure = decisions @ (self.wins - self.losses)
        return votes + sure / (3 * (sure.abs() + 1))


def _exact(machines: Sequence[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Support vectors, and the matrix from kernel values to decisions, a column for each."""
    if len(machines) > 1 or not hasattr(machines[0], "n_support_") or _is_single(machines[0]):
        rows = np.concatenate([m.support_vectors_ for m in machines])
        matrix = np.zeros((len(rows), len(machines)))
        first = 0
        for column, machine in enumerate(machines):
            last = first + len(machine.support_vectors_)
            matrix[first:last, column] = machine.dual_coef_[0]
            first = last
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


def _is_single(machine: Any) -> bool:
    return bool(machine.dual_coef_.shape[0] == 1)


def _pairs(n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """For each pair of classes, in libsvm's order, who wins and who loses it."""
    pairs = [(i, j) for i in range(n_classes) for j in range(i + 1, n_classes)]
    first, second = np.zeros((2, len(pairs), n_classes))
    for row, (i, j) in enumerate(pairs):
        first[row, i] = second[row, j] = 1
    return first, second
