"""The ridge head: a matrix, whose outputs are scores or values."""

from __future__ import annotations

from typing import Any

from transferkit.export.heads._tensors import LinearHead, coefficients
from transferkit.tasks import Task

__all__ = ["convert", "linear_map"]

linear_map = coefficients


def convert(head: Any, task: Task) -> LinearHead:
    """Make tensors of a fitted head."""
    kind = "scores" if task.has_classes else "values"
    return LinearHead(kind, task, *linear_map(head))
