"""The metrics that there are: one for each file of this folder."""

from __future__ import annotations

import importlib
from collections.abc import Collection

from transferkit import registry
from transferkit.metrics._metric import Measurable, Metric

__all__ = ["get", "measured", "names", "of"]

_FOLDER = "transferkit.metrics"


def names() -> list[str]:
    """Names of all metrics, sorted.

    Examples
    --------
    >>> "balanced_accuracy" in names()
    True
    """
    return sorted(name.replace("-", "_") for name in registry.names(_FOLDER))


def get(name: str) -> Metric:
    """Return the metric of that name.

    Raises
    ------
    ValueError
        If there is none; the message lists those that exist.

    Examples
    --------
    >>> get("mae").higher_is_better
    False
    """
    if name not in names():
        raise registry.unknown("metric", name, names())
    return _load(name)


def of(task: str) -> list[Metric]:
    """Metrics of a task, the most important first.

    Parameters
    ----------
    task : str
        What is predicted, such as ``regression`` or ``segmentation``.

    Examples
    --------
    >>> [metric.name for metric in of("regression")][:3]
    ['r2', 'mae', 'rmse']
    """
    metrics = [metric for metric in map(_load, names()) if task in metric.tasks]
    return sorted(metrics, key=lambda metric: (metric.place, metric.name))


def measured(found: Measurable, *, leave_out: Collection[str] = ()) -> dict[str, float | None]:
    """Every metric of some predictions' task, None where one is undefined.

    Parameters
    ----------
    found : Predictions or PixelCounts
        What was predicted beside what is true.
    leave_out : collection of str
        Names of metrics that aren't wanted.
    """
    metrics = [metric for metric in of(found.task) if metric.name not in leave_out]
    return {metric.name: metric.of(found) for metric in metrics}


def _load(name: str) -> Metric:
    metric: Metric = importlib.import_module(f"{_FOLDER}.{name}").METRIC
    return metric
