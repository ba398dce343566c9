"""Sections of a page on anomalies: scores of good and strange images, and of their pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.metrics import AnomalyReport, AnomalyScores
from transferkit.report.figures import curve_chart, histogram, marked
from transferkit.report.page import Beside, Chart, Part, Section

__all__ = ["anomaly_sections", "roc_curve"]

Array = NDArray[Any]

_POINTS = 300


def roc_curve(scores: AnomalyScores) -> tuple[Array, Array, Array]:
    """Shares of good and of strange images above a threshold that falls, and the threshold.

    Parameters
    ----------
    scores : AnomalyScores
        From `gather_scores`, of good and strange images.

    Examples
    --------
    >>> from transferkit.annotations import Annotations
    >>> from transferkit.metrics import gather_scores
    >>> found = [Annotations((1, 1), score=score) for score in (0.1, 0.7, 0.3)]
    >>> good, strange, at = roc_curve(gather_scores([None] * 3, found, [False, True, True]))
    >>> good.tolist(), strange.tolist()
    ([0.0, 0.0, 0.0, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    order = np.argsort(-scores.images, kind="stable")
    values, strange = scores.images[order], scores.is_anomalous[order]
    # Images of one score are said to be strange together.
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    shares = [
        np.concatenate([[0.0], np.cumsum(part)[last] / max(part.sum(), 1)])
        for part in (~strange, strange)
    ]
    return shares[0], shares[1], np.concatenate([values[:1], values[last]])


def anomaly_sections(report: AnomalyReport, scores: AnomalyScores) -> list[Section]:
    """Sections on the scores of images and of pixels.

    Parameters
    ----------
    report : AnomalyReport
        Of these scores.
    scores : AnomalyScores
        From `gather_scores`.
    """
    images: list[Part] = [_histogram(scores)]
    if report.image_auroc is not None:
        images.insert(0, _roc(report, scores))
    pixels = [] if report.pixel_auroc is None else [_pixels(report, scores)]
    return [
        Section(
            "Scores of the images",
            [Beside(images)],
            "An image is said to be strange if its score is above the threshold. The curve tells "
            "what share of the strange images is found, and what share of the good ones is a "
            "false alarm, wherever the threshold is set.",
        ),
        Section(
            "Scores of the pixels",
            pixels,
            "The same of pixels; and of regions, in the mean, which counts small defects as much "
            "as large ones (AUPRO is its area up to 30 % of false alarms).",
        ),
    ]


def _roc(report: AnomalyReport, scores: AnomalyScores) -> Chart:
    good, strange, at = roc_curve(scores)
    few = _thinned(len(good))
    curves: list[dict[str, Any]] = [
        {
            "name": f"images (AUROC {report.image_auroc:.3f})",
            "x": good[few],
            "y": strange[few],
            "text": [f"score {score:.4g}" for score in at[few].tolist()],
            "hovertemplate": "false alarms %{x:.3f}, found %{y:.3f}, %{text}",
        }
    ]
    if report.false_alarms is not None and report.found is not None:
        dot = {"name": "at the threshold", "mode": "markers"}
        place = {"x": [report.false_alarms], "y": [report.found]}
        curves.append({**dot, **place, "marker": {"size": 11, "symbol": "diamond"}})
    return _shares(curves, "Strange images that are found over false alarms")


def _histogram(scores: AnomalyScores) -> Chart:
    groups = {
        "good": scores.images[~scores.is_anomalous],
        "strange": scores.images[scores.is_anomalous],
    }
    ends = [*scores.images.tolist(), *([] if scores.threshold is None else [scores.threshold])]
    span = min(ends), max(ends)
    return histogram(
        groups,
        span,
        x_title="score",
        y_title="images",
        label="Histogram of the scores of good and strange images",
        layout={} if scores.threshold is None else marked(scores.threshold, "threshold", span),
    )


def _pixels(report: AnomalyReport, scores: AnomalyScores) -> Chart:
    good, strange, regions = scores.pixel_curve
    few = _thinned(len(good), good)
    aupro = "" if report.aupro is None else f" (AUPRO {report.aupro:.3f})"
    curves: list[dict[str, Any]] = [
        {
            "name": f"pixels (AUROC {report.pixel_auroc:.3f})",
            "x": good[few],
            "y": strange[few],
        },
        {"name": f"regions{aupro}", "x": good[few], "y": regions[few]},
    ]
    return _shares(curves, "Strange pixels and regions that are found over false alarms")


def _shares(curves: list[dict[str, Any]], label: str) -> Chart:
    x_title = "false alarms: share of what is good"
    return curve_chart(curves, x_title=x_title, y_title="share found", label=label)


def _thinned(n: int, places: Array | None = None) -> Array:
    """Positions of no more than about 300 of n points, from the first to the last.

    They are even in their number, or where `places` on an axis from 0 to 1 are given, along it.
    """
    even = np.linspace(0, n - 1, min(n, _POINTS)).round().astype(np.intp)
    if places is None or n <= _POINTS:
        return even
    # Close to the left edge, where most happens, the steps are those of a logarithm.
    at = np.concatenate([np.linspace(0, 1, 150), np.geomspace(1e-5, 1, 150)])
    near = np.searchsorted(places, np.sort(at)).clip(0, n - 1)
    return np.unique(np.concatenate([[0], near, [n - 1]]))
