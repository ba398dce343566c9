"""Multi-label classification: an image may have several labels, or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferkit.tasks._task import Task
from transferkit.tasks._validation import image_name, numbers

__all__ = ["TASK"]


def _targets(values: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
    """Check that the targets are an indicator matrix of 0 and 1, one column per label."""
    matrix = numbers(values, names, "give 0 or 1 for each label")
    if not np.isin(matrix, (0, 1)).all():
        row, column = np.argwhere(~np.isin(matrix, (0, 1)))[0]
        raise ValueError(
            f"several labels per image are columns of 0 and 1, but column {column} of "
            f"{image_name(row, names)} is {matrix[row, column]:g}; numbers are learnt by "
            f"regression (--task regression, TransferRegressor)"
        )
    return matrix.astype(np.int64)


def _written(value: Any, names: Sequence[str]) -> list[str]:
    return [name for name, has in zip(names, value, strict=True) if has]


TASK = Task(
    name="multilabel",
    summary="A classifier of images that may have several of {n} labels",
    outputs="labels",
    estimator="TransferClassifier",
    fine_tuner="FineTuneClassifier",
    head_kind="classification",
    activation="sigmoid",
    report="multilabel",
    targets=_targets,
    written=_written,
)
