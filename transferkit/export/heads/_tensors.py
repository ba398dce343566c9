"""Heads as modules of tensor operations, and operations that several of them share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.tasks import Task

__all__ = [
    "LinearHead",
    "TensorHead",
    "coefficients",
    "probabilities",
    "squared_distances",
    "two_columns",
    "unit",
]


class TensorHead(nn.Module):
    """A head as a module. `kind` names its output.

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


def coefficients(head: Any) -> tuple[np.ndarray, np.ndarray]:
    """``coef_`` with a row for each output, and ``intercept_``, in float64."""
    coef = np.atleast_2d(np.asarray(head.coef_, np.float64))
    return coef, np.atleast_1d(np.asarray(head.intercept_, np.float64))


class LinearHead(TensorHead):
    """A head whose scores are linear in the features, with an activation.

    Parameters
    ----------
    kind : {"probabilities", "scores", "values"}
        What it gives.
    task : Task
        What was learnt.
    coef : ndarray of shape (n_outputs, n_features)
        Coefficients; a classifier of two classes has one row, the second's against 0.
    intercept : ndarray of shape (n_outputs,)
        Intercepts.
    """

    coef: Tensor
    intercept: Tensor

    def __init__(self, kind: str, task: Task, coef: np.ndarray, intercept: np.ndarray) -> None:
        super().__init__(kind)
        self.task = task
        self.keep("coef", coef.T)
        self.keep("intercept", intercept)

    def forward(self, rows: Tensor) -> Tensor:
        """Compute probabilities, scores or values."""
        scores = rows @ self.coef + self.intercept
        if self.task.has_one_class and scores.shape[1] == 1:
            scores = two_columns(scores)
        return probabilities(scores, self.task) if self.kind == "probabilities" else scores


def probabilities(scores: Tensor, task: Task) -> Tensor:
    """Compute the softmax over the classes or, for several labels at once, the sigmoid of each."""
    return scores.sigmoid() if task.has_several_labels else scores.softmax(dim=1)


def two_columns(scores: Tensor) -> Tensor:
    """Make a score for each of two classes of the second class's score."""
    return torch.cat((torch.zeros_like(scores), scores), dim=1)


def unit(rows: Tensor) -> Tensor:
    """Scale rows to length 1. A row of zeros stays."""
    largest = rows.abs().amax(dim=1, keepdim=True)
    scaled = rows / torch.where(largest > 0, largest, 1.0)
    length = scaled.square().sum(dim=1, keepdim=True).sqrt()
    return scaled / torch.where(length > 0, length, 1.0)


def squared_distances(rows: Tensor, others: Tensor) -> Tensor:
    """Squared distance of every row to every other one, ``(B, n_others)``."""
    # |a - b|² = |a|² - 2ab + |b|²
    products = rows @ others.T
    lengths = rows.square().sum(dim=1, keepdim=True)
    return (lengths - 2 * products + others.square().sum(dim=1)).clamp(min=0)
