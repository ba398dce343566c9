"""Regression: one number per image, or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferkit.tasks._task import Task
from transferkit.tasks._validation import numbers

__all__ = ["TASK"]


def _targets(values: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
    return numbers(values, names, "give a number for each image")


def _written(value: Any, names: Sequence[str]) -> Any:
    return dict(zip(names, value, strict=True)) if isinstance(value, list) else value


def _residual(predicted: Any, true: Any) -> Any:
    if isinstance(true, dict):
        return {name: predicted[name] - value for name, value in true.items()}
    return predicted - true


TASK = Task(
    name="regression",
    summary="A regression of {n} number(s) per image",
    outputs="targets",
    estimator="TransferRegressor",
    fine_tuner="FineTuneRegressor",
    head_kind="regression",
    activation="identity",
    report="regression",
    targets=_targets,
    written=_written,
    residual=_residual,
)
