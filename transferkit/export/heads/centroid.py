"""The centroid head: distances to the class means, then softmax."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from transferkit.export.heads._tensors import TensorHead, squared_distances, unit
from transferkit.tasks import Task

__all__ = ["convert"]


def convert(head: Any, task: Task) -> TensorHead:
    """Make tensors of a fitted head."""
    return CentroidHead(head)


class CentroidHead(TensorHead):
    """Softmax of the negative squared distances to the class means."""

    mean: Tensor
    centroids: Tensor

    def __init__(self, head: Any) -> None:
        super().__init__("probabilities")
        self.temperature = float(head.temperature)
        self.keep("mean", head.mean_)
        self.keep("centroids", head.centroids_)

    def forward(self, rows: Tensor) -> Tensor:
        """Compute the probabilities."""
        distances = squared_distances(unit(rows - self.mean), self.centroids)
        return (-distances / self.temperature).softmax(dim=1)
