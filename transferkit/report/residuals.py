"""Predicted numbers over the true ones, and how far apart they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.report.captions import caption
from transferkit.report.judged_images import JudgedImages
from transferkit.report.page import Chart

__all__ = ["residual_charts"]

_MOST_TARGETS, _MOST_POINTS = 6, 2000
_GREY = "var(--soft)"


def residual_charts(measured: JudgedImages) -> tuple[list[Chart], str]:
    """Draw the predictions over the truth, and the histogram of the residuals, of each target.

    Parameters
    ----------
    measured : JudgedImages
        Of numbers.

    Returns
    -------
    (list of Chart, str)
        Two charts for each of up to six targets; and what of them isn't drawn.
    """
    found = measured.found
    n, n_targets = found.y_true.shape
    at = np.arange(n)
    notes = []
    if n > _MOST_POINTS:
        at = np.sort(np.random.default_rng(0).permutation(n)[:_MOST_POINTS])
        notes.append(f"{len(at):,} of {n:,} images are drawn.")
    if n_targets > _MOST_TARGETS:
        notes.append(f"The first {_MOST_TARGETS} of {n_targets} targets are drawn.")
    names = [caption(measured.images.names[i]) for i in at]
    charts = []
    for j in range(min(n_targets, _MOST_TARGETS)):
        true, said = found.y_true[:, j], found.y_pred[:, j]
        label = measured.labels[j]
        charts += [_scatter(true[at], said[at], names, label), _histogram(said - true, label)]
    return charts, " ".join(notes)


def _scatter(true: NDArray[Any], said: NDArray[Any], names: list[str], label: str) -> Chart:
    low, high = float(min(true.min(), said.min())), float(max(true.max(), said.max()))
    hover = [
        f"{name}<br>true {t:.4g}, predicted {p:.4g}<br>residual {p - t:+.4g}"
        for name, t, p in zip(names, true, said, strict=True)
    ]
    points: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "x": true,
        "y": said,
        "hovertext": hover,
    }
    points |= {"hoverinfo": "text", "marker": {"size": 7, "opacity": 0.65, "color": "var(--c1)"}}
    line = {"color": _GREY, "dash": "dash", "width": 1.5}
    identity: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "x": [low, high],
        "y": [low, high],
    }
    identity |= {"line": line, "hoverinfo": "skip"}
    shown = caption(label, 40)
    layout = {
        "xaxis": {"title": {"text": f"true {shown}"}},
        "yaxis": {"title": {"text": f"predicted {shown}"}},
        "showlegend": False,
    }
    figure = {"data": [identity, points], "layout": layout}
    return Chart(figure, f"Predicted over true {label} of {len(true):,} images", height=420)


def _histogram(residuals: NDArray[Any], label: str) -> Chart:
    counts, edges = np.histogram(residuals, bins=min(40, max(5, round(2 * len(residuals) ** 0.5))))
    centres = (edges[1:] + edges[:-1]) / 2
    hover = [
        f"{low:.4g} to {high:.4g}<br>{n:,} images"
        for low, high, n in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
    ]
    bars = {"type": "bar", "x": centres, "y": counts, "hovertext": hover, "hoverinfo": "text"}
    bars |= {"width": 0.95 * float(edges[1] - edges[0])}
    zero = {"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1}
    layout = {
        "xaxis": {"title": {"text": f"residual of {caption(label, 40)} (predicted - true)"}},
        "yaxis": {"title": {"text": "images"}},
        "shapes": [{**zero, "line": {"color": _GREY, "dash": "dash", "width": 1.5}}],
        "showlegend": False,
    }
    return Chart({"data": [bars], "layout": layout}, f"Histogram of the residuals of {label}", 300)
