"""How good predictions are: plain functions on arrays, over scikit-learn's."""

from transferkit.metrics.baseline import Baseline, Comparison
from transferkit.metrics.classification import (
    ClassRow,
    Report,
    calibration_error,
    classification_report,
)
from transferkit.metrics.multilabel import LabelRow, MultilabelReport, multilabel_report
from transferkit.metrics.regression import RegressionReport, TargetRow, regression_report

__all__ = [
    "Baseline",
    "ClassRow",
    "Comparison",
    "LabelRow",
    "MultilabelReport",
    "RegressionReport",
    "Report",
    "TargetRow",
    "calibration_error",
    "classification_report",
    "multilabel_report",
    "regression_report",
]
