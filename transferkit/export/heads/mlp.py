"""The mlp head: matrices with ReLUs between them, then softmax, sigmoids or the values."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from transferkit.export.heads._tensors import TensorHead, probabilities
from transferkit.tasks import Task

__all__ = ["convert"]


def convert(head: Any, task: Task) -> TensorHead:
    """Make tensors of a fitted head."""
    return PerceptronHead(head, task)


class PerceptronHead(TensorHead):
    """The layers of the network, with an activation after the last one."""

    mean: Tensor
    scale: Tensor
    target_mean: Tensor
    target_scale: Tensor

    def __init__(self, head: Any, task: Task) -> None:
        super().__init__("probabilities" if task.has_classes else "values")
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
        """Compute probabilities or values."""
        rows = (rows - self.mean) / self.scale
        for number in range(self.n_layers):
            rows = rows @ getattr(self, f"matrix{number}") + getattr(self, f"bias{number}")
            if number < self.n_layers - 1:
                rows = rows.relu()
        if not self.task.has_classes:
            return rows * self.target_scale + self.target_mean
        return probabilities(rows, self.task)
