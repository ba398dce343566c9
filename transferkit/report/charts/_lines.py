"""Lines with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from transferkit.report.charts._axes import (
    DASHES,
    N_COLOURS,
    SYMBOLS,
    Figure,
    axes,
    colour_of,
    has_words,
    numbers,
    whiskers,
    words_or_numbers,
)
from transferkit.report.charts._names import named

__all__ = ["Curve", "lines"]


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of a chart.

    Parameters
    ----------
    name : str
        What the legend says; a reference without a name isn't in it.
    x, y : array-like of shape (n,)
        Its points. Words as `x` are categories.
    low, high : array-like of shape (n,), optional
        Its interval at each point.
    is_dashed : bool, default=False
        Whether it is a reference, such as a baseline: dashed, soft and without points.
    texts : sequence of str, default=()
        What the pointer is told at each point, besides the numbers.
    hover : str, default=""
        What the pointer is told, with ``%{x}``, ``%{y}`` and ``%{text}``; by default all of them.
    width : float, default=2
        Of the line, px.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    is_dashed: bool = False
    texts: Sequence[str] = ()
    hover: str = ""
    width: float = 2


def lines(
    curves: Sequence[Curve],
    *,
    x_title: str,
    y_title: str,
    is_log: bool = False,
    x_ticks: Mapping[float, str] | None = None,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    has_points: bool = True,
) -> Figure:
    """Draw lines with their intervals: learning curves, precision over recall, reliability.

    Parameters
    ----------
    curves : sequence of Curve
        Lines; each has a colour and a symbol of its own.
    x_title, y_title : str
        Names of the axes, with units.
    is_log : bool, default=False
        Whether the x axis is logarithmic.
    x_ticks : mapping of float to str, optional
        Where the x axis has labels, and which.
    x_range, y_range : (float, float), optional
        What the axes span.
    has_points : bool, default=True
        Whether points are marked. Curves of many points are better without.

    Examples
    --------
    >>> figure = lines([Curve("a", [1, 5], [0.5, 0.7])], x_title="shots", y_title="accuracy")
    >>> figure["data"][0]["y"]
    [0.5, 0.7]
    """
    data: list[dict[str, Any]] = []
    i = 0
    for curve in curves:
        if curve.is_dashed:
            data.append(_reference(curve))
            continue
        data.append(_line(curve, i, has_points=has_points))
        i += 1
    layout = axes(x_title, y_title)
    if any(has_words(curve.x) for curve in curves):
        layout["xaxis"]["type"] = "category"
    if is_log:
        layout["xaxis"]["type"] = "log"
    if x_ticks is not None:
        texts = [named(text) for text in x_ticks.values()]
        layout["xaxis"] |= {"tickmode": "array", "tickvals": list(x_ticks), "ticktext": texts}
    if x_range is not None:
        layout["xaxis"]["range"] = np.log10(x_range).tolist() if is_log else list(x_range)
    if y_range is not None:
        layout["yaxis"]["range"] = list(y_range)
    return {"data": data, "layout": layout}


def _line(curve: Curve, i: int, *, has_points: bool) -> dict[str, Any]:
    trace = {
        "type": "scatter",
        "mode": "lines+markers" if has_points else "lines",
        "name": named(curve.name),
        "x": words_or_numbers(curve.x),
        "y": numbers(curve.y),
        "line": {
            "color": colour_of(i),
            "width": curve.width,
            "dash": DASHES[i // N_COLOURS % len(DASHES)],
        },
        "marker": {"color": colour_of(i), "size": 8, "symbol": SYMBOLS[i % len(SYMBOLS)]},
    }
    if curve.low is not None and curve.high is not None:
        trace["error_y"] = whiskers(curve.y, curve.low, curve.high)
    if curve.texts:
        trace["text"] = [named(text) for text in curve.texts]
    if curve.hover:
        trace["hovertemplate"] = curve.hover
    return trace


def _reference(curve: Curve) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": named(curve.name),
        "x": words_or_numbers(curve.x),
        "y": numbers(curve.y),
        "line": {"color": "var(--soft)", "width": 1.5, "dash": "dash"},
        "hoverinfo": "name" if curve.name else "skip",
        "showlegend": bool(curve.name),
    }
