"""Facts of a training for its card: the data, and the metrics with their intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.report.text import counted

if TYPE_CHECKING:
    from transferkit.metrics import MetricRow, TaskReport

__all__ = ["facts_of"]


def facts_of(source: str, part: str, report: TaskReport | None = None) -> dict[str, Any]:
    """Facts for the card of a model that was just trained.

    Parameters
    ----------
    source : str
        IMAGES as the user gave it; of a path only the last part is told.
    part : str
        Which images the model is measured on.
    report : TaskReport, optional
        What was measured; None if nothing was held out.
    """
    data: dict[str, Any] = {"images": Path(source).name or source}
    if report is None:
        return {"data": data}
    data |= {"measured on": f"{counted(report.n, 'image')} ({part})"}
    rows = sorted(report.rows(), key=_is_after_the_first)
    metrics = [_fact(row, report.n) for row in rows if row.value is not None]
    facts: dict[str, Any] = {"data": data, "metrics": metrics}
    if report.baseline is not None:
        facts["baseline"] = {
            "verdict": report.baseline.verdict,
            "is_beaten": report.baseline.is_beaten,
        }
    return facts


def _is_after_the_first(row: MetricRow) -> bool:
    """Cards of images with several labels begin with the exact match, as they always did."""
    return row.metric.name != "exact_match"


def _fact(row: MetricRow, n: int) -> dict[str, Any]:
    fact = {"name": row.metric.card_title, "value": row.value, "n": n}
    if row.low is not None:
        fact |= {"low": row.low, "high": row.high}
    if row.baseline is not None:
        fact["baseline"] = row.baseline
    return fact
