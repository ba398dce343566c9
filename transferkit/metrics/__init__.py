"""Metrics of predictions, one per file, and the report of each task.

A metric is a file of this folder that holds a `Metric` as ``METRIC``. It is then part of every
report of its tasks: printed, written as JSON, told in model cards and in a benchmark's rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike

from transferkit import registry
from transferkit.metrics._anomalies import AnomalyScores, gather_scores
from transferkit.metrics._anomaly import AnomalyReport, anomaly_report, report_of_scores
from transferkit.metrics._baseline import Baseline, Comparison
from transferkit.metrics._boxes import box_overlaps
from transferkit.metrics._classification import (
    ClassRow,
    Report,
    classification_report,
    predicted_classes,
)
from transferkit.metrics._detection import (
    ClassDetections,
    DetectionReport,
    detection_report,
    report_of_detections,
    report_of_objects,
)
from transferkit.metrics._detections import AtThreshold, DetectionCounts, count_detections
from transferkit.metrics._found import found_and_missed
from transferkit.metrics._instances import (
    ClassSegments,
    InstanceCounts,
    InstanceReport,
    count_instances,
    instance_report,
    report_of_instances,
)
from transferkit.metrics._masks import MASKS
from transferkit.metrics._matching import BOXES, Shapes
from transferkit.metrics._metric import Measurable, Metric, Predictions
from transferkit.metrics._multilabel import (
    LabelRow,
    MultilabelReport,
    multilabel_baseline,
    multilabel_report,
    predicted_labels,
)
from transferkit.metrics._oriented import (
    ORIENTED,
    OrientedReport,
    oriented_overlaps,
    oriented_report,
)
from transferkit.metrics._pixels import PixelCounts, count_pixels
from transferkit.metrics._registry import get, measured, names, of
from transferkit.metrics._regression import (
    RegressionReport,
    TargetRow,
    predicted_numbers,
    regression_report,
)
from transferkit.metrics._report import MetricRow, ReportTable, TaskReport
from transferkit.metrics._segmentation import (
    ClassPixels,
    SegmentationReport,
    report_of_pixels,
    segmentation_report,
)
from transferkit.metrics._voc import average_precision_11, mean_average_precision_11
from transferkit.metrics.calibration_error import calibration_error

__all__ = [
    "BOXES",
    "MASKS",
    "ORIENTED",
    "AnomalyReport",
    "AnomalyScores",
    "AtThreshold",
    "Baseline",
    "ClassDetections",
    "ClassPixels",
    "ClassRow",
    "ClassSegments",
    "Comparison",
    "DetectionCounts",
    "DetectionReport",
    "InstanceCounts",
    "InstanceReport",
    "LabelRow",
    "Measurable",
    "Metric",
    "MetricRow",
    "MultilabelReport",
    "OrientedReport",
    "PixelCounts",
    "Predictions",
    "RegressionReport",
    "Report",
    "ReportTable",
    "SegmentationReport",
    "Shapes",
    "TargetRow",
    "TaskReport",
    "anomaly_report",
    "average_precision_11",
    "box_overlaps",
    "calibration_error",
    "classification_report",
    "count_detections",
    "count_instances",
    "count_pixels",
    "detection_report",
    "found_and_missed",
    "gather_scores",
    "get",
    "instance_report",
    "mean_average_precision_11",
    "measured",
    "multilabel_baseline",
    "multilabel_report",
    "names",
    "of",
    "oriented_overlaps",
    "oriented_report",
    "predicted_classes",
    "predicted_labels",
    "predicted_numbers",
    "regression_report",
    "report_of",
    "report_of_detections",
    "report_of_instances",
    "report_of_objects",
    "report_of_pixels",
    "report_of_scores",
    "segmentation_report",
]


_REPORTS: dict[str, Callable[[Any, Any, Any, Any], TaskReport]] = {
    "anomaly": lambda true, predicted, *_: anomaly_report(true, predicted),
    "classification": classification_report,
    "detection": lambda true, predicted, _, names: detection_report(true, predicted, names),
    "instances": lambda true, predicted, _, names: instance_report(true, predicted, names),
    "multilabel": multilabel_report,
    "oriented": lambda true, predicted, _, names: oriented_report(true, predicted, names),
    "regression": lambda true, predicted, _, names: regression_report(true, predicted, names),
    "segmentation": lambda true, predicted, _, names: segmentation_report(true, predicted, names),
}


def report_of(
    task: str, y_true: Any, y_pred: Any, proba: ArrayLike | None, names: Any
) -> TaskReport:
    """Compare predictions of any task with the truth.

    Parameters
    ----------
    task : str
        What was predicted: ``classification``, ``multilabel``, ``regression``, or a dense task
        such as ``segmentation``.
    y_true, y_pred : array-like, or iterable of Annotations
        As in `classification_report`, `multilabel_report`, `regression_report`,
        `segmentation_report`, `detection_report`, `instance_report`, `oriented_report` and
        `anomaly_report`.
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
    if task not in _REPORTS:
        raise registry.unknown("task", task, tuple(_REPORTS))
    return _REPORTS[task](y_true, y_pred, proba, names)
