"""What pages of all measured models tell: metrics, and the images that could not be measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transferkit.report.page import CellValue, DataTable, Part, Section, Text, WrittenNumber
from transferkit.report.text import printable

if TYPE_CHECKING:
    from transferkit.images import Failure
    from transferkit.metrics import MetricRow, TaskReport

__all__ = ["failure_section", "headline", "metric_table"]

# Images of which it is told why they weren't measured.
_FAILURES = 200


def headline(row: MetricRow) -> str:
    """A metric with its interval and its baseline, in as few words as can be.

    Parameters
    ----------
    row : MetricRow
        From the report of any task.
    """
    shown = row.metric.text
    text = shown(row.value)
    if row.low is not None and row.high is not None and shown(row.low) != shown(row.high):
        unit = " %" if row.metric.is_share else ""
        text += f" ({shown(row.low).removesuffix(unit)} to {shown(row.high).removesuffix(unit)})"
    return text if row.baseline is None else f"{text}; baseline {shown(row.baseline)}"


def metric_table(report: TaskReport) -> DataTable:
    """All metrics with their intervals and baselines; columns that tell nothing are left out.

    Parameters
    ----------
    report : TaskReport
        Of any task.
    """
    header = ("metric", "value", "95 % from", "to", "baseline")
    rows: list[list[CellValue]] = [
        [
            row.metric.title,
            *(
                None if value is None else WrittenNumber(value, row.metric.text(value))
                for value in (row.value, row.low, row.high, row.baseline)
            ),
        ]
        for row in report.rows()
    ]
    told = [i for i in range(len(header)) if i < 2 or any(row[i] is not None for row in rows)]
    return DataTable([header[i] for i in told], [[row[i] for i in told] for row in rows])


def failure_section(title: str, failures: Sequence[Failure], warning: str = "") -> Section:
    """Name the images that could not be measured, with the reasons; without parts if none is so.

    Parameters
    ----------
    title : str
        Of the section.
    failures : sequence of Failure
        The images; of many the first 200 are named.
    warning : str, default=""
        What stands above them.
    """
    if not failures:
        return Section(title, [])
    rows = [(printable(one.name), printable(one.reason)) for one in failures[:_FAILURES]]
    more = len(failures) - len(rows)
    parts: list[Part] = [Text(warning, is_warning=True)] if warning else []
    about = f"The first {len(rows)}; {more:,} more." if more else ""
    return Section(title, [*parts, DataTable(("image", "reason"), rows)], about)
