"""`Model` holds everything that is saved of a trained model and loaded again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from transferkit.pooling import parse_feature
from transferkit.spec import BackboneSpec
from transferkit.tasks import dense, names

__all__ = ["TASKS", "Model"]

TASKS = (*names(), *dense.names())
"""Names of all tasks that a model may have."""


@dataclass(frozen=True, eq=False)
class Model:
    """Everything that makes up a trained model.

    Parameters
    ----------
    task : str
        One of `TASKS`.
    backbone : BackboneSpec
        What makes the features.
    features : tuple of str
        Feature names, in the order of the head's columns.
    precision, storage : str
        Numeric class and stored type of the features.
    classes : ndarray of shape (n_classes,)
        Labels; of a regression, names of the targets.
    head : estimator or ModuleHead
        Fitted; its labels are positions in `classes`. A dense task has a `ModuleHead`.
    train_ids : ndarray of uint8, shape (n_samples, 16)
        Row ids of the images that it was trained on.
    reduce : {"mean", "max", "concat"}, default="mean"
        How the rows of an item's several images become one.
    n_images : int, default=1
        Images of every item whose rows stand side by side.
    facts : mapping, default={}
        What else its card tells, as values that JSON takes: ``data`` and ``recipe`` (name to
        value), ``metrics`` (dictionaries of name, value, low, high and n).
    """

    task: str
    backbone: BackboneSpec
    features: tuple[str, ...]
    precision: str
    storage: str
    classes: np.ndarray
    head: Any
    train_ids: np.ndarray
    reduce: str = "mean"
    n_images: int = 1
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def keys(self) -> dict[str, str]:
        """Store key of each feature. If a key changes, so do the feature's numbers."""
        return {
            str(parse_feature(name)): self.backbone.feature_spec(
                str(parse_feature(name)), precision=self.precision, storage=self.storage
            ).key
            for name in self.features
        }
