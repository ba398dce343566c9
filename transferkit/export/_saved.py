"""`Saved` holds a saved model in the form that the formats take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit.artifacts import Model
from transferkit.pooling import FeatureName, parse_feature
from transferkit.tasks import Task, task_of

__all__ = ["Saved"]


@dataclass(frozen=True, eq=False)
class Saved:
    """A model with the content of its model.json.

    Parameters
    ----------
    content : mapping
        What model.json holds.
    model : Model
        The model.
    """

    content: Mapping[str, Any]
    model: Model

    @property
    def task(self) -> Task:
        """What the model was trained for."""
        return task_of(self.model.task)

    @property
    def features(self) -> list[FeatureName]:
        """Its features, in the order of the head's columns."""
        return [parse_feature(name) for name in self.model.features]

    @property
    def names(self) -> list[Any]:
        """Names of the classes, labels or targets."""
        names: list[Any] = self.model.classes.tolist()
        return names

    @property
    def label_output(self) -> str:
        """Name of the output that holds positions of labels; empty for a regression."""
        if self.task.has_one_class:
            return "label"
        return "labels" if self.task.has_several_labels else ""

    def labels_of(self, kind: str, values: np.ndarray) -> np.ndarray:
        """Positions of the predicted labels, or 0 and 1 for each of several.

        Parameters
        ----------
        kind : {"probabilities", "scores"}
            What the values are.
        values : ndarray of shape (n_samples, n_classes)
            Of each class or label.
        """
        if self.task.has_several_labels:
            least = 0.5 if kind == "probabilities" else 0
            return np.asarray(values > least, dtype=np.int64)
        return np.asarray(values.argmax(axis=1), dtype=np.int64)
