"""The reliability diagram: how often predictions are right that are said with some confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transferkit.metrics import calibration_error
from transferkit.report.page import Chart

__all__ = ["Reliability", "reliability", "reliability_chart"]

_GREY = "var(--soft)"


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predictions in bins of their confidence.

    Parameters
    ----------
    error : float
        Expected calibration error: mean distance of the two shares below, over the predictions.
    counts : ndarray of int, shape (n_bins,)
        Predictions of each bin.
    confidence, right : ndarray of shape (n_bins,)
        Mean confidence, and the share that came true; NaN in empty bins.
    """

    error: float
    counts: NDArray[np.intp]
    confidence: NDArray[np.float64]
    right: NDArray[np.float64]


def reliability(is_right: ArrayLike, confidence: ArrayLike, n_bins: int = 15) -> Reliability:
    """Sort predictions into bins of their confidence, as `calibration_error` does.

    Parameters
    ----------
    is_right : array of bool, shape (n_samples,)
        Whether each came true.
    confidence : array of float, shape (n_samples,)
        The probability that was said.
    n_bins : int, default=15
        Bins of equal width.

    Examples
    --------
    >>> found = reliability([True, False, True], [0.9, 0.9, 0.6], n_bins=10)
    >>> found.counts.tolist(), round(found.error, 3)
    ([0, 0, 0, 0, 0, 1, 0, 0, 2, 0], 0.4)
    """
    right, said = np.asarray(is_right, float), np.asarray(confidence, float)
    bins = np.clip(np.ceil(said * n_bins).astype(int) - 1, 0, n_bins - 1)
    counts = np.bincount(bins, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(bins, weights=w, minlength=n_bins) / counts for w in (said, right)]
    error = calibration_error(right, said[:, None], n_bins)
    return Reliability(error, counts, *means)


def reliability_chart(found: Reliability, said: str, came_true: str, counted: str) -> Chart:
    """Draw a reliability diagram above the histogram of the confidences.

    Parameters
    ----------
    found : Reliability
        The bins.
    said, came_true, counted : str
        What the confidences, the shares and the counts are of, for the axes.
    """
    n_bins = len(found.counts)
    centres = (np.arange(n_bins) + 0.5) / n_bins
    hover = [
        f"said {c:.3f}, came true {r:.3f}<br>{n:,} {counted}" if n else ""
        for c, r, n in zip(found.confidence, found.right, found.counts.tolist(), strict=True)
    ]
    bars: dict[str, Any] = {"type": "bar", "x": centres, "width": 0.92 / n_bins}
    bars |= {"hovertext": hover, "hoverinfo": "text", "showlegend": False}
    # A bar of a single image says nothing.
    faint = 0.25 + 0.75 * np.sqrt(found.counts / max(1, found.counts.max()))
    line = {"color": "var(--front)", "dash": "dash", "width": 1.5}
    data = [
        {**bars, "y": found.right, "marker": {"color": "var(--c1)", "opacity": faint}},
        {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "line": line,
         "hoverinfo": "skip", "showlegend": False},
        {**bars, "y": found.counts, "yaxis": "y2", "marker": {"color": _GREY}},
    ]  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": said}, "range": [0, 1], "anchor": "y2"},
        "yaxis": {"title": {"text": came_true}, "range": [0, 1.02], "domain": [0.34, 1]},
        "yaxis2": {"title": {"text": counted}, "domain": [0, 0.24], "rangemode": "tozero"},
        "showlegend": False,
    }
    return Chart(
        {"data": data, "layout": layout},
        f"Reliability diagram, calibration error {100 * found.error:.2f} %",
        height=460,
    )
