"""Sections of a page on objects that are found: curves, overlaps, scores, sizes, confusions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.metrics import ClassDetections, DetectionCounts, DetectionReport
from transferkit.metrics._detection import FALSE, MISSED
from transferkit.metrics._matching import AREAS, HIT, MISS
from transferkit.metrics._rules import THRESHOLDS
from transferkit.report.captions import caption
from transferkit.report.figures import (
    NAME,
    SHOWN_CLASSES,
    bar_chart,
    curve_chart,
    histogram,
    marked,
    matrix,
)
from transferkit.report.page import Beside, Chart, Part, Section
from transferkit.report.text import counted

__all__ = ["object_sections"]

Array = NDArray[Any]

# Classes with a curve of their own, those with the most objects.
_MAX_CURVES = 8
_SCORES = np.linspace(0, 1, 101)
# Positions of the overlaps 0.5 and 0.75.
_SHOWN_OVERLAPS = (0, 5)


def object_sections(report: DetectionReport, counts: DetectionCounts) -> list[Section]:
    """Sections on curves, overlaps, scores, sizes and confusions.

    Parameters
    ----------
    report : DetectionReport
        Of these counts; of oriented boxes and of masks too.
    counts : DetectionCounts
        From `count_detections` or `count_instances`.
    """
    rows = sorted((row for row in report.classes if row.objects), key=lambda row: -row.objects)
    shown = rows[:_MAX_CURVES]
    some = "" if len(rows) <= len(shown) else f" The {len(shown)} classes with the most objects."
    return [
        Section(
            "Precision over recall",
            [Beside([_precision(report, counts, shown, at) for at in _SHOWN_OVERLAPS])],
            "What share of what is found is right, and what share of the objects is found, as the "
            f"score from which on one believes falls.{some}",
        ),
        Section(
            "Score threshold",
            [Beside([_thresholds(report, counts), _scores(report, counts)])],
            "Precision, recall and F1 by the score from which on detections are believed, of all "
            "classes together, at an overlap of 0.5; and the scores of right and false "
            "detections: the further they are apart, the better a threshold divides them.",
        ),
        Section(
            "How exactly objects are placed",
            [Beside([_overlaps(counts, shown), *_sizes(report, counts)])],
            "Average precision by the overlap from which on an object counts as found: where it "
            "falls early, objects are found but not well outlined. And by the objects' area.",
        ),
        Section(
            "Confusions",
            _confusions(report),
            "Of the objects of a class (row), the share that is found as each (column), at the "
            "score threshold; the last row tells of what was found where there is no object.",
        ),
    ]


# ---- precision over recall ----------------------------------------------------------


def _precision(
    report: DetectionReport, counts: DetectionCounts, rows: list[ClassDetections], at: int
) -> Chart:
    ranked, overlap = counts.ranked(), float(THRESHOLDS[at])
    average = counts.precisions["all"][at]
    curves: list[dict[str, Any]] = []
    for row in rows:
        c = counts.classes.index(row.label, 1)
        points = ranked.curve(c, at)
        recalls = [0.0, *(point.recall for point in points)]
        precisions = [points[0].precision if points else 0.0, *(one.precision for one in points)]
        scores = [points[0].score if points else 0.0, *(one.score for one in points)]
        curves.append(
            {
                "name": f"{caption(row.label, NAME)} ({100 * average[c]:.1f})",
                "x": recalls,
                "y": precisions,
                "text": [f"score {score:.3f}" for score in scores],
                "hovertemplate": "recall %{x:.3f}, precision %{y:.3f}, %{text}",
            }
        )
    at_threshold = None if at else _dot(report)
    if at_threshold is not None:
        curves.append(at_threshold)
    title = f"precision at overlap {overlap:g}"
    label = f"Precision over recall at an overlap of {overlap:g}, with each class's AP"
    layout = {"showlegend": True}  # a single class's average precision stands there too
    return curve_chart(curves, x_title="recall", y_title=title, label=label, layout=layout)


def _dot(report: DetectionReport) -> dict[str, Any] | None:
    """The point of all classes together at the chosen threshold."""
    chosen = report.chosen
    if chosen is None or chosen.precision is None or chosen.recall is None:
        return None
    dot = {"name": f"all, score ≥ {chosen.threshold:.2f}", "mode": "markers"}
    place = {"x": [chosen.recall], "y": [chosen.precision]}
    return {**dot, **place, "marker": {"size": 11, "symbol": "diamond"}}


# ---- scores -------------------------------------------------------------------------


def _thresholds(report: DetectionReport, counts: DetectionCounts) -> Chart:
    found = [counts.at(float(score)) for score in _SCORES]
    curves = [
        {"name": name, "x": _SCORES, "y": [getattr(one, field) for one in found]}
        for name, field in (("precision", "precision"), ("recall", "recall"), ("F1", "f1"))
    ]
    chosen = report.chosen
    layout = {} if chosen is None else marked(chosen.threshold, f"{chosen.threshold:.2f}")
    return curve_chart(
        curves,
        x_title="score from which on detections are believed",
        y_title="",
        label="Precision, recall and F1 over the score threshold",
        layout=layout,
    )


def _scores(report: DetectionReport, counts: DetectionCounts) -> Chart:
    groups = {
        "right": counts.scores[counts.found == HIT],
        "false": counts.scores[counts.found == MISS],
    }
    chosen = report.chosen
    return histogram(
        groups,
        (0, 1),
        x_title="score",
        y_title="detections",
        label="Histogram of the scores of right and false detections",
        is_log=True,
        layout={} if chosen is None else marked(chosen.threshold, f"{chosen.threshold:.2f}"),
    )


# ---- overlaps and sizes -------------------------------------------------------------


def _overlaps(counts: DetectionCounts, rows: list[ClassDetections]) -> Chart:
    averaged = counts.precisions["all"]
    mean = [counts.average_precision(threshold=t) for t in range(len(THRESHOLDS))]
    curves: list[dict[str, Any]] = [{"name": "all classes", "x": THRESHOLDS, "y": mean}]
    if len(rows) > 1:
        curves[0]["line"] = {"width": 4}
        curves += [
            {
                "name": caption(row.label, NAME),
                "x": THRESHOLDS,
                "y": averaged[:, counts.classes.index(row.label, 1)],
            }
            for row in rows
        ]
    for curve in curves:
        curve["mode"] = "lines+markers"
    return curve_chart(
        curves,
        x_title="overlap from which on an object is found",
        y_title="average precision",
        label="Average precision over overlaps",
        layout={"xaxis": {"title": {"text": "overlap needed"}, "range": (0.48, 0.97)}},
    )


def _sizes(report: DetectionReport, counts: DetectionCounts) -> list[Part]:
    names, values, texts = [], [], []
    limits = {"small": "below 32² px", "medium": "32² to 96² px", "large": "above 96² px"}
    for a, area in enumerate(AREAS):
        value = report.value(f"ap_{area}")
        if value is not None:
            n = int(counts.counts[:, a].sum())
            names.append(f"{area}: {limits[area]}")
            values.append(100 * value)
            texts.append(f"{100 * value:.1f}, of {counted(n, 'object')}")
    if not names:
        return []
    return [
        bar_chart(
            names,
            values,
            name="AP",
            x_title="average precision, %",
            x_range=(0, 100),
            texts=texts,
            label="Average precision by the objects' area",
        )
    ]


# ---- confusions ---------------------------------------------------------------------


def _confusions(report: DetectionReport) -> list[Part]:
    if len(report.labels) > SHOWN_CLASSES:
        return []  # the table of the largest ones tells more
    rows, columns = [*report.labels, FALSE], [*report.labels, MISSED]
    return [matrix(np.array(report.confusion, dtype=float), rows, columns, unit="objects")]
