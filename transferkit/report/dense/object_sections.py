"""Sections of a page on objects that are found: curves, overlaps, scores, sizes, confusions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.metrics import ClassDetections, DetectionCounts, DetectionReport
from transferkit.metrics._detection import FALSE, MISSED
from transferkit.metrics._matching import AREAS, HIT, MISS
from transferkit.metrics._rules import THRESHOLDS
from transferkit.report.charts import (
    Curve,
    Figure,
    Points,
    bars,
    histogram,
    lines,
    marked,
    shortened,
)
from transferkit.report.dense.confusions import SHOWN_CLASSES, confusion_chart
from transferkit.report.dense.share_curves import share_curves
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
    curves = []
    for row in rows:
        c = counts.classes.index(row.label, 1)
        points = ranked.curve(c, at)
        recalls = [0.0, *(point.recall for point in points)]
        precisions = [points[0].precision if points else 0.0, *(one.precision for one in points)]
        scores = [points[0].score if points else 0.0, *(one.score for one in points)]
        curves.append(
            Curve(
                f"{shortened(row.label)} ({100 * average[c]:.1f})",
                recalls,
                precisions,
                texts=[f"score {score:.3f}" for score in scores],
                hover="recall %{x:.3f}, precision %{y:.3f}, %{text}",
            )
        )
    title = f"precision at overlap {overlap:g}"
    dot = None if at else _dot(report)
    figure = share_curves(curves, x_title="recall", y_title=title, dot=dot)
    figure["layout"]["showlegend"] = True  # a single class's average precision stands there too
    label = f"Precision over recall at an overlap of {overlap:g}, with each class's AP"
    return Chart(figure, label, 400)


def _dot(report: DetectionReport) -> Points | None:
    """The point of all classes together at the chosen threshold."""
    chosen = report.chosen
    if chosen is None or chosen.precision is None or chosen.recall is None:
        return None
    return Points(f"all, score ≥ {chosen.threshold:.2f}", [chosen.recall], [chosen.precision])


# ---- scores -------------------------------------------------------------------------


def _thresholds(report: DetectionReport, counts: DetectionCounts) -> Chart:
    found = [counts.at(float(score)) for score in _SCORES]
    curves = [
        Curve(name, _SCORES, [getattr(one, field) for one in found])
        for name, field in (("precision", "precision"), ("recall", "recall"), ("F1", "f1"))
    ]
    x_title = "score from which on detections are believed"
    figure = share_curves(curves, x_title=x_title, y_title="")
    figure["layout"] |= _marked(report)
    return Chart(figure, "Precision, recall and F1 over the score threshold", 400)


def _scores(report: DetectionReport, counts: DetectionCounts) -> Chart:
    groups = {
        "right": counts.scores[counts.found == HIT],
        "false": counts.scores[counts.found == MISS],
    }
    figure = histogram(groups, (0, 1), x_title="score", y_title="detections", is_log=True)
    figure["layout"] |= _marked(report)
    return Chart(figure, "Histogram of the scores of right and false detections", 320)


def _marked(report: DetectionReport) -> Figure:
    """Where the threshold is, if one was chosen."""
    chosen = report.chosen
    return {} if chosen is None else marked(chosen.threshold, f"{chosen.threshold:.2f}")


# ---- overlaps and sizes -------------------------------------------------------------


def _overlaps(counts: DetectionCounts, rows: list[ClassDetections]) -> Chart:
    averaged = counts.precisions["all"]
    mean = [counts.average_precision(threshold=t) for t in range(len(THRESHOLDS))]
    curves = [Curve("all classes", THRESHOLDS, mean, width=4 if len(rows) > 1 else 2)]
    if len(rows) > 1:
        curves += [
            Curve(shortened(row.label), THRESHOLDS, averaged[:, counts.classes.index(row.label, 1)])
            for row in rows
        ]
    figure = lines(
        curves,
        x_title="overlap needed",
        y_title="average precision",
        x_range=(0.48, 0.97),
        y_range=(0, 1.03),
    )
    return Chart(figure, "Average precision over overlaps", 400)


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
    title = "average precision, %"
    figure = bars(names, {"AP": values}, title=title, span=(0, 100), texts=texts, form=":.1f")
    height = 130 + 34 * max(len(names), 2)
    return [Chart(figure, "Average precision by the objects' area", height)]


# ---- confusions ---------------------------------------------------------------------


def _confusions(report: DetectionReport) -> list[Part]:
    if len(report.labels) > SHOWN_CLASSES:
        return []  # the table of the largest ones tells more
    rows, columns = [*report.labels, FALSE], [*report.labels, MISSED]
    return [confusion_chart(np.array(report.confusion), rows, columns, unit="objects")]
