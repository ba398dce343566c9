"""The knn head: distances to all stored rows, the nearest, their weighted votes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferkit.export.heads._tensors import TensorHead, squared_distances, unit
from transferkit.tasks import Task

__all__ = ["convert"]


def convert(head: Any, task: Task) -> TensorHead:
    """Make tensors of a fitted head."""
    return NeighborsHead(head, task)


class NeighborsHead(TensorHead):
    """The stored rows, of which the nearest ones vote."""

    mean: Tensor
    origin: Tensor
    stored: Tensor
    answers: Tensor

    def __init__(self, head: Any, task: Task) -> None:
        super().__init__("probabilities" if task.has_classes else "values", has_jumps=True)
        self.k, self.is_cosine = int(head.k_), head.metric == "cosine"
        self.weights, self.temperature = head.weights, float(head.temperature)
        self.keep("mean", head.mean_)
        self.keep("origin", head.origin_)
        self.keep("stored", head.X_)
        y = head.y_
        if task.has_one_class:
            y = np.eye(len(head.classes_))[y]
        self.keep("answers", y.reshape(len(y), -1))

    def forward(self, rows: Tensor) -> Tensor:
        """Compute probabilities or values."""
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
