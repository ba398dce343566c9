"""The page on a measured model of a dense task: numbers, charts and pictures."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from transferkit.images import Failure
from transferkit.metrics import (
    AnomalyReport,
    AnomalyScores,
    DetectionCounts,
    DetectionReport,
    MetricRow,
    PixelCounts,
    SegmentationReport,
    TaskReport,
)
from transferkit.report.anomaly_sections import anomaly_sections
from transferkit.report.dense_pictures import DensePictures
from transferkit.report.examples import (
    Examples,
    anomaly_examples,
    object_examples,
    pixel_examples,
)
from transferkit.report.model_facts import model_table
from transferkit.report.object_sections import object_sections
from transferkit.report.page import DataTable, Page, Part, Section, Text
from transferkit.report.pixel_sections import pixel_sections
from transferkit.report.text import counted, printable

__all__ = ["dense_page", "pictures_for"]

# Metrics at the top of the page, and images of which it is told why they aren't measured.
_HEADLINE, _FAILURES = 3, 200
_NUMBER = re.compile(r"-?[\d,]+(\.\d+)?")


def pictures_for(
    report: TaskReport,
    counts: PixelCounts | DetectionCounts | AnomalyScores,
    classes: Sequence[str],
) -> DensePictures:
    """Choose what a page shows; the images are then added to it one by one.

    Parameters
    ----------
    report : TaskReport
        Of these counts.
    counts : PixelCounts, DetectionCounts or AnomalyScores
        What the report was made of.
    classes : sequence of str
        Names of the classes, by number.
    """
    if isinstance(report, DetectionReport) and isinstance(counts, DetectionCounts):
        threshold = math.inf if report.chosen is None else report.chosen.threshold
        return DensePictures(object_examples(counts, threshold), counts, classes, threshold)
    examples = Examples({}, {})
    if isinstance(counts, PixelCounts):
        examples = pixel_examples(counts)
    elif isinstance(counts, AnomalyScores):
        examples = anomaly_examples(counts)
    return DensePictures(examples, counts, classes)


def dense_page(
    title: str,
    report: TaskReport,
    counts: PixelCounts | DetectionCounts | AnomalyScores,
    pictures: DensePictures,
    *,
    facts: Mapping[str, str] | None = None,
    content: Mapping[str, Any] | None = None,
    failures: Sequence[Failure] = (),
) -> Page:
    """Make the page.

    Parameters
    ----------
    title : str
        What it is of.
    report : TaskReport
        Of a segmentation, of objects or of anomalies.
    counts : PixelCounts, DetectionCounts or AnomalyScores
        What the report was made of.
    pictures : DensePictures
        From `pictures_for`, with the images added.
    facts : mapping of str to str, optional
        What was measured on what, such as the model's backbone.
    content : mapping, optional
        What the model is, from `transferkit.artifacts.describe`.
    failures : sequence of Failure, default=()
        Images that could not be read, or whose annotations could not be used.
    """
    own = _sections_of(report, counts)
    model: list[Part] = [] if content is None else [model_table(content)]
    # What people look at most comes right after the numbers.
    images, *objects = pictures.sections()
    sections = [_numbers(report), *own[:1], *objects, images, *own[1:]]
    return Page(
        printable(title),
        [*sections, _tables(report), Section("The model", model), _left_out(failures)],
        {**_headline(report), **{name: printable(text) for name, text in (facts or {}).items()}},
    )


def _sections_of(report: TaskReport, counts: Any) -> list[Section]:
    if isinstance(report, SegmentationReport):
        return pixel_sections(report, counts)
    if isinstance(report, DetectionReport):
        return object_sections(report, counts)
    assert isinstance(report, AnomalyReport)
    return anomaly_sections(report, counts)


# ---- numbers ------------------------------------------------------------------------


def _headline(report: TaskReport) -> dict[str, str]:
    """The first metrics with their intervals and baselines, and how many images there are."""
    facts = {}
    for row in [row for row in report.rows() if row.value is not None][:_HEADLINE]:
        shown = row.metric.text
        text = shown(row.value)
        if interval := _interval(row):
            text += f" ({interval})"
        if row.baseline is not None:
            text += f"; baseline {shown(row.baseline)}"
        facts[row.metric.title] = text
    return {**facts, "images": f"{report.n:,}"}


def _numbers(report: TaskReport) -> Section:
    cells = [
        [row.metric.title, _written(row, row.value), _interval(row), _written(row, row.baseline)]
        for row in report.rows()
    ]
    header = ("metric", "value", "95 % interval", "baseline")
    # A column that tells nothing is left out.
    told = [i for i in range(len(header)) if i < 2 or any(row[i] for row in cells)]
    notes: list[Part] = [
        Text(f"{printable(name[0].upper() + name[1:])}: {printable(text)}.")
        for name, text in report.notes()
        if text
    ]
    about = "Intervals are from a bootstrap over the images; a baseline looks at no image."
    table = DataTable([header[i] for i in told], [[row[i] for i in told] for row in cells])
    return Section("Numbers", [table, *notes], about if len(told) > 2 else "")


def _written(row: MetricRow, value: float | None) -> str:
    return "" if value is None else str(row.metric.text(value))


def _interval(row: MetricRow) -> str:
    """The interval of a metric, if it tells anything."""
    low, high = _written(row, row.low), _written(row, row.high)
    return "" if low == high else f"{low.removesuffix(' %')} to {high}"


# ---- tables -------------------------------------------------------------------------


def _tables(report: TaskReport) -> Section:
    tables = [
        DataTable(
            [printable(name) for name in table.header],
            [[printable(row[0]), *map(_cell, row[1:])] for row in table.rows],
            table.title,
        )
        for table in report.tables()
    ]
    return Section("Tables", tables)


def _cell(text: str) -> str | float | None:
    """A cell of a report's table: numbers are sorted as such."""
    if text == "-":
        return None
    if not _NUMBER.fullmatch(text):
        return printable(text)
    number = text.replace(",", "")
    return float(number) if "." in number else int(number)


def _left_out(failures: Sequence[Failure]) -> Section:
    rows = [[printable(one.name), printable(one.reason)] for one in failures[:_FAILURES]]
    if not rows:
        return Section("Images that were left out", [])
    more = len(failures) - len(rows)
    parts: list[Part] = [
        Text(
            f"{counted(len(failures), 'image')} could not be measured: the file could not be read, "
            f"or its annotations could not be used.",
            is_warning=True,
        ),
        DataTable(["image", "reason"], rows),
    ]
    if more:
        parts.append(Text(f"And {more:,} more."))
    return Section("Images that were left out", parts)
