"""Figures that pages share, as plotly's plain dictionaries: lines, bars, points, heat maps.

Names are escaped, because plotly reads texts as markup. Colours are the page's.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from transferkit.report.text import printable

__all__ = ["Curve", "Points", "bars", "heatmap", "lines", "named", "scatter"]

N_COLOURS = 8
"""How many colours a page has for traces, ``var(--c1)`` to ``var(--c8)``."""

# Beside its colour each trace has a symbol and, after eight, a dash of its own.
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "triangle-down", "star", "cross")
_DASHES = ("solid", "dash", "dot", "dashdot")
# Numbers in cells of heat maps with more rows or columns would overlap.
_MOST_TEXTS = 20

Figure = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of a chart.

    Parameters
    ----------
    name : str
        What the legend says.
    x, y : array-like of shape (n,)
        Its points. Words as `x` are categories.
    low, high : array-like of shape (n,), optional
        Its interval at each point.
    is_dashed : bool, default=False
        Whether it is a reference, such as a baseline: dashed, soft and without points.
    texts : sequence of str, default=()
        What the pointer is told at each point, besides the numbers.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    is_dashed: bool = False
    texts: Sequence[str] = ()


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


def named(text: object) -> str:
    """Text that plotly shows as it is: neither markup nor control characters work in it.

    Examples
    --------
    >>> named("<b>cat</b>")
    '&lt;b&gt;cat&lt;/b&gt;'
    """
    return html.escape(printable(str(text)), quote=False)


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
    layout = _axes(x_title, y_title)
    if any(_has_words(curve.x) for curve in curves):
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
        "x": _names_of(curve.x),
        "y": _floats(curve.y),
        "line": {"color": _colour(i), "width": 2, "dash": _DASHES[i // N_COLOURS % len(_DASHES)]},
        "marker": {"color": _colour(i), "size": 8, "symbol": _SYMBOLS[i % len(_SYMBOLS)]},
    }
    if curve.low is not None and curve.high is not None:
        trace["error_y"] = _interval(curve.y, curve.low, curve.high)
    if curve.texts:
        trace["text"] = [named(text) for text in curve.texts]
    return trace


def _reference(curve: Curve) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": named(curve.name),
        "x": _names_of(curve.x),
        "y": _floats(curve.y),
        "line": {"color": "var(--soft)", "width": 1.5, "dash": "dash"},
        "hoverinfo": "name",
    }


def bars(
    names: Sequence[str],
    series: Mapping[str, ArrayLike],
    *,
    title: str,
    intervals: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    is_upright: bool = False,
    reference: float | None = None,
    span: tuple[float, float] | None = None,
) -> Figure:
    """Draw bars, side by side for several series: metrics per class, counts per part.

    Parameters
    ----------
    names : sequence of str
        What each place of the axis is; from the top down, or from left to right.
    series : mapping of str to array-like of shape (n,)
        Values by the name that the legend has; the name of a single one isn't shown.
    title : str
        Of the values' axis, with unit.
    intervals : mapping of str to (low, high), optional
        Of the values of each series.
    is_upright : bool, default=False
        Whether bars stand. Those that lie have room for long names.
    reference : float, optional
        A dashed line across all bars, such as a mean or a baseline.
    span : (float, float), optional
        What the values' axis spans.

    Examples
    --------
    >>> bars(["cat", "dog"], {"": [3, 4]}, title="images")["data"][0]["y"]
    ['cat', 'dog']
    """
    across, along = ("x", "y") if is_upright else ("y", "x")
    shown = [named(name) for name in names]
    data = []
    for i, (name, values) in enumerate(series.items()):
        trace = {
            "type": "bar",
            "name": named(name),
            "orientation": "v" if is_upright else "h",
            across: shown,
            along: _floats(values),
            "marker": {"color": _colour(i)},
        }
        if intervals is not None and name in intervals:
            trace[f"error_{along}"] = _interval(values, *intervals[name])
        data.append(trace)
    axis: dict[str, Any] = {"type": "category"}
    if not is_upright:
        axis["autorange"] = "reversed"  # the first stands at the top
    layout: Figure = {
        f"{across}axis": axis,
        f"{along}axis": {"title": {"text": named(title)}},
        "showlegend": len(data) > 1,
        "bargap": 0.25,
    }
    if span is not None:
        layout[f"{along}axis"]["range"] = list(span)
    if reference is not None:
        line = {along + "0": reference, along + "1": reference, across + "0": 0, across + "1": 1}
        soft = {"color": "var(--soft)", "width": 1.5, "dash": "dash"}
        layout["shapes"] = [{"type": "line", across + "ref": "paper", **line, "line": soft}]
    return {"data": data, "layout": layout}


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
    n = sum(len(_floats(group.y)) for group in groups)
    data = [_points(group, i, n) for i, group in enumerate(groups)]
    layout = _axes(x_title, y_title)
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
        "x": _floats(group.x),
        "y": _floats(group.y),
        "marker": {
            "color": group.colour or _colour(i),
            "size": size,
            "symbol": _SYMBOLS[i % len(_SYMBOLS)],
            "opacity": 1 if n <= 50 else 0.75,
        },
    }
    if group.low is not None and group.high is not None:
        trace["error_y"] = _interval(group.y, group.low, group.high)
    if group.labels:
        trace |= {"text": [named(label) for label in group.labels], "textposition": "top center"}
        trace |= {"textfont": {"size": 12}, "cliponaxis": False}
    if group.texts:
        trace |= {"hovertext": [named(text) for text in group.texts], "hoverinfo": "text"}
    if group.pictures is not None:
        trace["customdata"] = np.asarray(group.pictures).tolist()
    return trace


def heatmap(
    values: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    x_title: str,
    y_title: str,
    texts: Sequence[Sequence[str]] | None = None,
    shades: ArrayLike | None = None,
    span: tuple[float, float] | None = None,
    is_diverging: bool = False,
) -> Figure:
    """Draw a table of numbers as colours, the first row at the top: confusions, means over data.

    Parameters
    ----------
    values : array-like of shape (n, m)
        Numbers; what isn't finite has no colour.
    rows, columns : sequence of str
        Their names.
    x_title, y_title : str
        What columns and rows are.
    texts : sequence of sequence of str, optional
        What stands in the cells; by default the numbers. Nothing does with more than 20 rows or
        columns.
    shades : array-like of shape (n, m), optional
        What is coloured instead of `values`, such as shares of a row or roots of counts.
    span : (float, float), optional
        Values of the first and the last colour.
    is_diverging : bool, default=False
        Whether colours differ on both sides of 0.

    Examples
    --------
    >>> figure = heatmap([[3, 1], [0, 4]], "ab", "ab", x_title="predicted", y_title="true")
    >>> figure["data"][0]["texttemplate"]
    '%{text}'
    """
    table = np.asarray(values, dtype=float)
    coloured = table if shades is None else np.asarray(shades, dtype=float)
    shown = [[_short(value) for value in row] for row in table.tolist()] if texts is None else texts
    trace: dict[str, Any] = {
        "type": "heatmap",
        "z": coloured.tolist(),
        "x": list(range(table.shape[1])),
        "y": list(range(table.shape[0])),
        "text": [[named(text) for text in row] for row in shown],
        "customdata": [[[named(row), named(column)] for column in columns] for row in rows],
        "hovertemplate": (
            f"{named(y_title)} %{{customdata[0]}}<br>{named(x_title)} %{{customdata[1]}}"
            "<br>%{text}<extra></extra>"
        ),
        "xgap": 1,
        "ygap": 1,
        "showscale": False,
    }
    if max(table.shape, default=0) <= _MOST_TEXTS:
        trace["texttemplate"] = "%{text}"
    if is_diverging:
        reach = float(np.nanmax(np.abs(coloured), initial=0)) or 1.0
        span = (-reach, reach) if span is None else span
        ends = [[0, "var(--c2)"], [0.5, "var(--card)"], [1, "var(--c1)"]]
        trace["colorscale"] = ends
    if span is not None:
        trace |= {"zmin": span[0], "zmax": span[1]}
    layout = _axes(x_title, y_title)
    # Numbers with labels rather than categories, as two classes may have the same name in part.
    for axis, names in (("xaxis", columns), ("yaxis", rows)):
        ticks = {"tickvals": list(range(len(names))), "ticktext": [named(name) for name in names]}
        layout[axis] |= {"tickmode": "array", "showgrid": False, "zeroline": False, **ticks}
    layout["yaxis"]["autorange"] = "reversed"
    return {"data": [trace], "layout": layout}


# ---- parts of figures ---------------------------------------------------------------


def _axes(x_title: str, y_title: str) -> Figure:
    return {
        "xaxis": {"title": {"text": named(x_title)}},
        "yaxis": {"title": {"text": named(y_title)}},
    }


def _colour(i: int) -> str:
    return f"var(--c{i % N_COLOURS + 1})"


def _floats(values: ArrayLike) -> list[Any]:
    return list(np.asarray(values).tolist())


def _has_words(values: ArrayLike) -> bool:
    return np.asarray(values).dtype.kind in "US"


def _names_of(values: ArrayLike) -> list[Any]:
    return [named(value) if isinstance(value, str) else value for value in _floats(values)]


def _interval(values: ArrayLike, low: ArrayLike, high: ArrayLike) -> Figure:
    """Whiskers from low to high."""
    middle = np.asarray(values, dtype=float)
    return {
        "type": "data",
        "symmetric": False,
        "array": (np.asarray(high, dtype=float) - middle).tolist(),
        "arrayminus": (middle - np.asarray(low, dtype=float)).tolist(),
        "thickness": 1.2,
        "width": 4,
    }


def _short(value: float) -> str:
    if not np.isfinite(value):
        return ""
    return f"{value:,.0f}" if value == round(value) else f"{value:.3g}"
