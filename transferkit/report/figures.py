"""Charts of predictions: bars, matrices, histograms and curves as plotly's plain figures."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transferkit.report.captions import caption
from transferkit.report.page import Chart

__all__ = [
    "NAME",
    "SHOWN_CLASSES",
    "bar_chart",
    "curve_chart",
    "histogram",
    "marked",
    "matrix",
]

Array = NDArray[Any]
Trace = dict[str, Any]

NAME = 28
"""Most characters of a name in a chart."""
SHOWN_CLASSES = 30
"""Classes of a chart; of more their names would overlap."""
_BINS = 20
# With more columns than this, numbers wouldn't fit into the cells of a matrix.
_NUMBERS = 12


def marked(at: float, text: str, span: tuple[float, float] = (0, 1)) -> dict[str, Any]:
    """Parts of a layout: a dashed upright line across a chart, with words at its top.

    The words go to the side of it where there is more room, on an axis from ``span[0]`` to
    ``span[1]``.
    """
    side = "right" if at > sum(span) / 2 else "left"
    line = {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper"}
    words = {"x": at, "y": 1, "yref": "paper", "text": html.escape(text, quote=False)}
    return {
        "shapes": [{**line, "line": {"dash": "dash", "width": 1.5, "color": "#8a8d92"}}],
        "annotations": [{**words, "showarrow": False, "xanchor": side, "yanchor": "bottom"}],
    }


def bar_chart(
    names: Sequence[str],
    values: ArrayLike,
    *,
    name: str,
    x_title: str,
    label: str,
    x_range: tuple[float, float] | None = None,
    interval: tuple[Array, Array] | None = None,
    points: tuple[str, Array] | None = None,
    texts: Sequence[str] | None = None,
) -> Chart:
    """Draw lying bars, the first at the top; with intervals, and points of something else.

    Parameters
    ----------
    names : sequence of str
        What stands beside the bars.
    values : array-like
        Their lengths.
    name, x_title, label : str
        What they are, the axis, and what the chart shows.
    x_range : (float, float), optional
        Of the axis.
    interval : (ndarray, ndarray), optional
        Lower and upper ends of intervals.
    points : (str, ndarray), optional
        Name and values of the points.
    texts : sequence of str, optional
        What stands at the bars' ends.
    """
    lengths = np.asarray(values, dtype=float)
    places = list(range(len(names)))
    bar: Trace = {"type": "bar", "orientation": "h", "x": lengths, "y": places, "name": name}
    shown = {
        "hovertext": [caption(one, NAME) for one in names],
        "hovertemplate": "%{hovertext}: %{x:.1f}",
    }
    bar |= shown
    if texts is not None:
        bar |= {"text": list(texts), "textposition": "auto"}
    if interval is not None:
        low, high = interval
        ends = {"array": high - lengths, "arrayminus": lengths - low}
        bar["error_x"] = {"type": "data", "symmetric": False, "thickness": 1.5, **ends}
    traces = [bar]
    if points is not None and not np.isnan(points[1]).all():
        dots: Trace = {"type": "scatter", "mode": "markers", "x": points[1], "y": places}
        dots |= {"name": points[0], "marker": {"symbol": "diamond", "size": 9}}
        traces.append({**dots, **shown})
    ticks = {
        "tickmode": "array",
        "tickvals": places,
        "ticktext": [caption(one, NAME) for one in names],
    }
    layout = {
        "xaxis": {"title": {"text": x_title}, **({} if x_range is None else {"range": x_range})},
        "yaxis": {**ticks, "autorange": "reversed", "automargin": True},
        "showlegend": len(traces) > 1,
        "bargap": 0.35,
    }
    return Chart({"data": traces, "layout": layout}, label, height=130 + 34 * max(len(names), 2))


def matrix(
    cells: Array, rows: Sequence[str], columns: Sequence[str], *, unit: str, label: str = ""
) -> Chart:
    """Draw counts as a matrix of colours, each row as shares of its sum.

    Parameters
    ----------
    cells : ndarray of shape (n_rows, n_columns)
        Counts.
    rows, columns : sequence of str
        True and predicted classes.
    unit : str
        What is counted.
    label : str, default=""
        What it shows.
    """
    sums = cells.sum(axis=1, keepdims=True)
    shares = np.divide(100 * cells, sums, out=np.full(cells.shape, np.nan), where=sums > 0)
    has_numbers = len(columns) <= _NUMBERS
    across, down = list(range(len(columns))), list(range(len(rows)))
    trace: Trace = {"type": "heatmap", "z": shares, "x": across, "y": down}
    hover = [
        [
            f"{caption(rows[i], NAME)} → {caption(columns[j], NAME)}<br>{int(cells[i, j]):,} {unit}"
            + ("" if np.isnan(shares[i, j]) else f", {shares[i, j]:.1f} %")
            for j in across
        ]
        for i in down
    ]
    trace |= {"zmin": 0, "zmax": 100, "xgap": 1, "ygap": 1, "hoverinfo": "text", "hovertext": hover}
    if has_numbers:
        written = [["" if np.isnan(v) else f"{v:.1f}" for v in row] for row in shares.tolist()]
        trace |= {"text": written, "texttemplate": "%{text}"}
    trace["colorbar"] = {"title": {"text": "% of row"}, "thickness": 10}
    layout = {
        "xaxis": {**_ticks(across, columns), "title": {"text": "predicted"}, "side": "bottom"},
        "yaxis": {**_ticks(down, rows), "title": {"text": "true"}, "autorange": "reversed"},
    }
    height = min(200 + 44 * len(rows), 760)
    return Chart(
        {"data": [trace], "layout": layout}, label or f"Confusion matrix of {unit}", height
    )


def _ticks(places: Sequence[int], names: Sequence[str]) -> dict[str, Any]:
    texts = [caption(name, NAME) for name in names]
    return {"tickmode": "array", "tickvals": places, "ticktext": texts, "automargin": True}


def histogram(
    groups: Mapping[str, Array],
    span: tuple[float, float],
    *,
    x_title: str,
    y_title: str,
    label: str,
    is_log: bool = False,
    layout: Mapping[str, Any] | None = None,
) -> Chart:
    """Draw how many values of each group are in each of 20 bins.

    Parameters
    ----------
    groups : mapping of str to ndarray
        Values by name.
    span : (float, float)
        From where to where the bins go.
    x_title, y_title, label : str
        The axes, and what the chart shows.
    is_log : bool, default=False
        Whether numbers are drawn as their logarithms, where some are much larger.
    layout : mapping, optional
        What is added to the layout, such as `marked`.
    """
    low, high = span if span[1] > span[0] else (span[0] - 0.5, span[0] + 0.5)
    edges = np.linspace(low, high, _BINS + 1)
    traces = []
    for name, values in groups.items():
        counts, _ = np.histogram(values, edges)
        trace: Trace = {"type": "bar", "name": name, "x": (edges[1:] + edges[:-1]) / 2, "y": counts}
        texts = [
            f"{first:.3g} to {last:.3g}: {n:,}"
            for first, last, n in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
        ]
        traces.append({**trace, "hoverinfo": "text+name", "hovertext": texts})
    margin = 0.02 * (high - low)
    upright: dict[str, Any] = {"title": {"text": y_title}, "rangemode": "tozero"}
    if is_log:
        most = max((float(np.max(trace["y"])) for trace in traces), default=1.0)
        upright |= {"type": "log", "range": (-0.3, np.log10(max(most, 10)) + 0.15), "dtick": 1}
    figure = {
        "data": traces,
        "layout": {
            "xaxis": {"title": {"text": x_title}, "range": (low - margin, high + margin)},
            "yaxis": upright,
            "barmode": "group",
            "bargap": 0.08,
            "showlegend": len(traces) > 1,
            **(layout or {}),
        },
    }
    return Chart(figure, label, height=320)


def curve_chart(
    curves: Sequence[Trace],
    *,
    x_title: str,
    y_title: str,
    label: str,
    layout: Mapping[str, Any] | None = None,
    height: int = 400,
) -> Chart:
    """Draw curves over an axis from 0 to 1, or whatever the layout says.

    Parameters
    ----------
    curves : sequence of dict
        Traces with ``name``, ``x`` and ``y``; lines unless they say otherwise.
    x_title, y_title, label : str
        The axes, and what the chart shows.
    layout : mapping, optional
        What is added to the layout.
    height : int, default=400
        px.
    """
    traces = [{"type": "scatter", "mode": "lines", **curve} for curve in curves]
    figure = {
        "data": traces,
        "layout": {
            "xaxis": {"title": {"text": x_title}, "range": (0, 1.02)},
            "yaxis": {"title": {"text": y_title}, "range": (0, 1.03)},
            "showlegend": sum(one.get("showlegend", True) for one in traces) > 1,
            **(layout or {}),
        },
    }
    return Chart(figure, label, height)
