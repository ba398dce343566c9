"""Fitted heads as plain tensor operations: rows of features → probabilities, scores or values."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferkit.export._machines import KernelMachine
from transferkit.export._tensor_head import TensorHead, squared_distances, two_columns, unit
from transferkit.heads import centroid, knn, lda, linear, mlp, ridge, svm

__all__ = ["linear_map", "tensor_head"]

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
        return KernelMachine(head)
    return None


def _activated(scores: Tensor, task: str) -> Tensor:
    if task == "regression":
        return scores
    return scores.sigmoid() if task == "multilabel" else scores.softmax(dim=1)


class _Linear(TensorHead):
    coef: Tensor
    intercept: Tensor

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
            scores = two_columns(scores)
        return _activated(scores, self.task) if self.kind == "probabilities" else scores


class _Centroid(TensorHead):
    mean: Tensor
    centroids: Tensor

    def __init__(self, head: Any) -> None:
        super().__init__("probabilities")
        self.temperature = float(head.temperature)
        self.keep("mean", head.mean_)
        self.keep("centroids", head.centroids_)

    def forward(self, rows: Tensor) -> Tensor:
        distances = squared_distances(unit(rows - self.mean), self.centroids)
        return (-distances / self.temperature).softmax(dim=1)


class _Network(TensorHead):
    mean: Tensor
    scale: Tensor
    target_mean: Tensor
    target_scale: Tensor

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
    mean: Tensor
    origin: Tensor
    stored: Tensor
    answers: Tensor

    def __init__(self, head: Any, task: str) -> None:
        super().__init__("values" if task == "regression" else "probabilities", has_jumps=True)
        self.k, self.is_cosine = int(head.k_), head.metric == "cosine"
        self.weights, self.temperature = head.weights, float(head.temperature)
        self.keep("mean", head.mean_)
        self.keep("origin", head.origin_)
        self.keep("stored", head.X_)
        y = head.y_
        if task == "classification":
            y = np.eye(len(head.classes_))[y]
        self.keep("answers", y.reshape(len(y), -1))

    def forward(self, rows: Tensor) -> Tensor:
        rows = rows - self.mean
        if self.is_cosine:
            rows = unit(rows)
        distances = squared_distances(rows - self.origin, self.stored)
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
