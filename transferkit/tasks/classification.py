"""Classification: every image is of exactly one class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from transferkit.images.sources.items import is_missing
from transferkit.tasks._task import Task
from transferkit.tasks._validation import image_name

__all__ = ["TASK"]


def _targets(values: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
    """Check that there is one label for each image, all of one kind, and return them."""
    labels = values.reshape(-1).tolist()
    for i, label in enumerate(labels):
        if is_missing(label) or (isinstance(label, str) and not label.strip()):
            raise ValueError(f"the label of {image_name(i, names)} is {label!r}; give it a label")
    is_text = [isinstance(label, str) for label in labels]
    if len(set(is_text)) > 1:
        odd = is_text.index(not is_text[0])
        raise ValueError(
            f"the label of {image_name(0, names)} is {labels[0]!r} and that of "
            f"{image_name(odd, names)} is {labels[odd]!r}; give all as strings or all as numbers"
        )
    check_classification_targets(values)
    return values


def _written(value: Any, names: Sequence[str]) -> Any:
    return value


TASK = Task(
    name="classification",
    summary="An image classifier of {n} classes",
    outputs="classes",
    estimator="TransferClassifier",
    fine_tuner="FineTuneClassifier",
    head_kind="classification",
    activation="softmax",
    report="classification",
    targets=_targets,
    written=_written,
    has_one_class=True,
    of_columns="multilabel",
    hub_task="image-classification",
)
