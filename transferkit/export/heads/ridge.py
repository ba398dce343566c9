"""The ridge head: a matrix, whose outputs are scores or values."""

from __future__ import annotations

from typing import Any

from transferkit.export.heads._tensors import LinearHead, coefficients

__all__ = ["convert", "linear_map"]

linear_map = coefficients


def convert(head: Any, task: str) -> LinearHead:
    """Make tensors of a fitted head."""
    kind = "values" if task == "regression" else "scores"
    return LinearHead(kind, task, *linear_map(head))
