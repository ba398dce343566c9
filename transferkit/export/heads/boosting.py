"""The boosting head: the sum of its trees, then softmax, sigmoids or the values."""

from __future__ import annotations

from typing import Any

import numpy as np

from transferkit.export._refusal import refused
from transferkit.export.heads._trees import Tree, TreeSum, separate_trees
from transferkit.tasks import Task

__all__ = ["convert"]


def convert(head: Any, task: Task) -> TreeSum:
    """Make a sum of trees of a fitted head.

    Raises
    ------
    ValueError
        If another library grew the trees, or there are none.
    """
    if head.library != "sklearn":
        raise refused(head, f"its trees are {head.library}'s; fit it with library='sklearn'")
    trees: list[Tree] = []
    base: list[float] = []
    scale = np.ravel(getattr(head, "target_scale_", 1.0))
    mean = np.ravel(getattr(head, "target_mean_", 0.0))
    for number, model in enumerate(head.models_):
        if isinstance(model, float):  # a label that was always the same
            base.append(model)
            continue
        factor, shift = (1.0, 0.0) if task.has_classes else (scale[number], mean[number])
        trees += separate_trees(model, len(base), factor)
        base += (model.base * factor + shift).tolist()
    if not trees:
        raise refused(head, "it has nothing that depends on the features")
    function = "" if task.activation == "identity" else task.activation
    if task.has_one_class and len(base) == 1:
        function = "odds"
    kind = "probabilities" if task.has_classes else "values"
    return TreeSum(trees, np.array(base), False, kind, function)
