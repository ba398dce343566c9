"""Metrics of predictions, one per file, and the report of each task.

A metric is a file of this folder that holds a `Metric` as ``METRIC``. It is then part of every
report of its tasks: printed, written as JSON, told in model cards and in a benchmark's rows.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from transferkit import registry
from transferkit.metrics._baseline import Baseline, Comparison
from transferkit.metrics._classification import (
    ClassRow,
    Report,
    classification_report,
    predicted_classes,
)
from transferkit.metrics._metric import Metric, Predictions
from transferkit.metrics._multilabel import (
    LabelRow,
    MultilabelReport,
    multilabel_baseline,
    multilabel_report,
    predicted_labels,
)
from transferkit.metrics._registry import get, measured, names, of
from transferkit.metrics._regression import (
    RegressionReport,
    TargetRow,
    predicted_numbers,
    regression_report,
)
from transferkit.metrics._report import MetricRow, ReportTable, TaskReport
from transferkit.metrics._voc import average_precision_11, mean_average_precision_11
from transferkit.metrics.calibration_error import calibration_error

__all__ = [
    "Baseline",
    "ClassRow",
    "Comparison",
    "LabelRow",
    "Metric",
    "MetricRow",
    "MultilabelReport",
    "Predictions",
    "RegressionReport",
    "Report",
    "ReportTable",
    "TargetRow",
    "TaskReport",
    "average_precision_11",
    "calibration_error",
    "classification_report",
    "get",
    "mean_average_precision_11",
    "measured",
    "multilabel_baseline",
    "multilabel_report",
    "names",
    "of",
    "predicted_classes",
    "predicted_labels",
    "predicted_numbers",
    "regression_report",
    "report_of",
]


def report_of(
    task: str,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    proba: ArrayLike | None,
    names: Any,
) -> TaskReport:
    """Compare predictions of any task with the truth.

    Parameters
    ----------
    task : {"classification", "multilabel", "regression"}
        What was predicted.
    y_true, y_pred : array-like
        As in `classification_report`, `multilabel_report` and `regression_report`.
    proba : array-like or None
        Probabilities, where there are any.
    names : array-like
        The classes that the model knows, the labels, or the targets' names.

    Raises
    ------
    ValueError
        If there is no such task, there are no samples, or shapes don't fit.

    Examples
    --------
    >>> report_of("regression", [1, 2, 3], [1, 2, 5], None, ["age"]).value("r2")
    -1.0
    """
    if task == "classification":
        return classification_report(y_true, y_pred, proba, names)
    if task == "multilabel":
        return multilabel_report(y_true, y_pred, proba, names)
    if task == "regression":
        return regression_report(y_true, y_pred, names)
    raise registry.unknown("task", task, ("classification", "multilabel", "regression"))
