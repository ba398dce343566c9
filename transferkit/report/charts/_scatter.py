"""Points on a plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from transferkit.report.charts._axes import (
    SYMBOLS,
    Figure,
    axes,
    colour_of,
    numbers,
    whiskers,
)
from transferkit.report.charts._names import named

__all__ = ["Points", "scatter"]


@dataclass(frozen=True, eq=False)
class Points:
    """Points of one colour in a scatter chart.

    Parameters
    ----------
    name : str
        What the legend says.
    x, y : array-like of shape (n,)
        Where they are.
    texts : sequence of str, default=()
        What the pointer is told of each.
    pictures : array-like of int, optional
        For each the number of its picture in the `Chart`'s ``pictures``.
    low, high : array-like of shape (n,), optional
        Intervals of `y`.
    labels : sequence of str, default=()
        What stands beside each, for few points.
    colour : str, default=""
        Such as ``var(--bad)``; by default the next of the page's.
    size : float, optional
        Of a point, px; by default smaller the more there are.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    texts: Sequence[str] = ()
    pictures: ArrayLike | None = None
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    labels: Sequence[str] = ()
    colour: str = ""
    size: float | None = None


def scatter(
    groups: Sequence[Points],
    *,
    x_title: str,
    y_title: str,
    is_log: bool = False,
    is_square: bool = False,
    has_axes: bool = True,
) -> Figure:
    """Draw points: truth and prediction, accuracy and speed, a 2-D map of features.

    Parameters
    ----------
    groups : sequence of Points
        Each has a colour and a symbol of its own.
    x_title, y_title : str
        Names of the axes, with units.
    is_log : bool, default=False
        Whether the x axis is logarithmic.
    is_square : bool, default=False
        Whether a unit is as long on both axes.
    has_axes : bool, default=True
        Whether axes have numbers, which on a map of features mean nothing.

    Examples
    --------
    >>> figure = scatter([Points("a", [1], [2], pictures=[0])], x_title="x", y_title="y")
    >>> figure["data"][0]["customdata"]
    [0]
    """
    n = sum(len(numbers(group.y)) for group in groups)
    data = [_points(group, i, n) for i, group in enumerate(groups)]
    layout = axes(x_title, y_title)
    layout |= {"hovermode": "closest", "showlegend": len(groups) > 1}
    if is_log:
        layout["xaxis"]["type"] = "log"
    if is_square:
        layout["yaxis"]["scaleanchor"] = "x"
    if not has_axes:
        for axis in (layout["xaxis"], layout["yaxis"]):
            axis |= {"showticklabels": False, "zeroline": False}
    return {"data": data, "layout": layout}


def _points(group: Points, i: int, n: int) -> dict[str, Any]:
    size = group.size or (10 if n <= 50 else 7 if n <= 500 else 5)
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers+text" if group.labels else "markers",
        "name": named(group.name),
        "x": numbers(group.x),
        "y": numbers(group.y),
        "marker": {
            "color": group.colour or colour_of(i),
            "size": size,
            "symbol": SYMBOLS[i % len(SYMBOLS)],
            "opacity": 1 if n <= 50 else 0.75,
        },
    }
    if group.low is not None and group.high is not None:
        trace["error_y"] = whiskers(group.y, group.low, group.high)
    if group.labels:
        trace |= {"text": [named(label) for label in group.labels], "textposition": "top center"}
        trace |= {"textfont": {"size": 12}, "cliponaxis": False}
    if group.texts:
        trace |= {"hovertext": [named(text) for text in group.texts], "hoverinfo": "text"}
    if group.pictures is not None:
        trace["customdata"] = np.asarray(group.pictures).tolist()
    return trace
