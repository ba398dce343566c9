"""What a card tells of a training: the data, and the metrics with their intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transferkit.cli._output import counted

__all__ = ["facts_of"]


def facts_of(source: str, part: str, report: Any) -> dict[str, Any]:
    """Facts for the card of a model that was just trained.

    Parameters
    ----------
    source : str
        IMAGES as the user gave it; of a path only the last part is told.
    part : str
        Which images the model is measured on.
    report : object or None
        What was measured; None if nothing was.
    """
    data: dict[str, Any] = {"images": Path(source).name or source}
    if report is None:
        return {"data": data}
    data |= {"measured on": f"{counted(report.n, 'image')} ({part})"}
    facts = {"data": data, "metrics": _metrics(report)}
    if report.baseline is not None:
        facts["baseline"] = {
            "verdict": report.baseline.verdict,
            "is_beaten": report.baseline.is_beaten,
        }
    return facts


_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "r2": "R²",
    "mae": "MAE",
    "rmse": "RMSE",
    "exact_match": "exact match",
    "mean_average_precision": "mAP",
    "mean_auroc": "AUROC",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
}


def _metrics(report: Any) -> list[dict[str, Any]]:
    """One row per number that the report has, with interval and baseline where there are any."""
    rows = []
    for metric, name in _NAMES.items():
        value = getattr(report, metric, None)
        if value is None:
            continue
        row = {"name": name, "value": value, "n": report.n}
        found = None if report.baseline is None else report.baseline.of(metric)
        if found is not None:
            row |= {"low": found.low, "high": found.high, "baseline": found.baseline}
        elif (interval := getattr(report, f"{metric}_interval", None)) is not None:
            row |= {"low": interval[0], "high": interval[1]}
        rows.append(row)
    return rows
