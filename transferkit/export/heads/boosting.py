"""The boosting head: the sum of its trees, then softmax, sigmoids or the values."""

from __future__ import annotations

from typing import Any

import numpy as np

from transferkit.export._refusal import refused
from transferkit.export.heads._trees import Tree, TreeSum, separate_trees

__all__ = ["convert"]


def convert(head: Any, task: str) -> TreeSum:
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
        factor, shift = (scale[number], mean[number]) if task == "regression" else (1.0, 0.0)
        trees += separate_trees(model, len(base), factor)
        base += (model.base * factor + shift).tolist()
    if not trees:
        raise refused(head, "it has nothing that depends on the features")
    function = {"regression": "", "multilabel": "sigmoid"}.get(task, "softmax")
    if task == "classification" and len(base) == 1:
        function = "odds"
    kind = "values" if task == "regression" else "probabilities"
    return TreeSum(trees, np.array(base), False, kind, function)
