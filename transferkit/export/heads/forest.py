"""The forest head: the mean of its trees."""

from __future__ import annotations

from typing import Any

from transferkit.export.heads._trees import TreeSum, separate_trees
from transferkit.tasks import Task

__all__ = ["convert"]


def convert(head: Any, task: Task) -> TreeSum:
    """Make a sum of trees of a fitted head."""
    kind = "probabilities" if task.has_classes else "values"
    return TreeSum(list(separate_trees(head.trees_, 0, 1.0)), head.trees_.base, True, kind, "")
