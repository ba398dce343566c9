"""The lda head: a matrix, then softmax."""

from __future__ import annotations

from typing import Any

from transferkit.export.heads._tensors import LinearHead, coefficients
from transferkit.tasks import Task

__all__ = ["convert", "linear_map"]

linear_map = coefficients


def convert(head: Any, task: Task) -> LinearHead:
    """Make tensors of a fitted head."""
    return LinearHead("probabilities", task, *linear_map(head))
