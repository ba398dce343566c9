"""Bars, standing or lying."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from numpy.typing import ArrayLike

from transferkit.report.charts._axes import (
    Figure,
    colour_of,
    numbers,
    whiskers,
)
from transferkit.report.charts._names import named

__all__ = ["bars"]


def bars(
    names: Sequence[str],
    series: Mapping[str, ArrayLike],
    *,
    title: str,
    intervals: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    is_upright: bool = False,
    reference: float | None = None,
    span: tuple[float, float] | None = None,
    texts: Sequence[str] = (),
    dots: Mapping[str, ArrayLike] | None = None,
    form: str = "",
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
    texts : sequence of str, default=()
        What stands at the ends of the bars, of a single series.
    dots : mapping of str to array-like of shape (n,), optional
        Values of something else, drawn as points.
    form : str, default=""
        How the pointer is told values, such as ``":.1f"``; by default as they are.

    Examples
    --------
    >>> figure = bars(["cat", "dog"], {"": [3, 4]}, title="images")
    >>> figure["data"][0]["x"], figure["layout"]["yaxis"]["ticktext"]
    ([3, 4], ['cat', 'dog'])
    """
    across, along = ("x", "y") if is_upright else ("y", "x")
    # Numbers with labels rather than categories, as two names may be the same once they are cut.
    places, shown = list(range(len(names))), [named(name) for name in names]
    told = {"hovertext": shown, "hovertemplate": f"%{{hovertext}}: %{{{along}{form}}}"}
    data = []
    for i, (name, values) in enumerate(series.items()):
        trace: Figure = {
            "type": "bar",
            "name": named(name),
            "orientation": "v" if is_upright else "h",
            across: places,
            along: numbers(values),
            "marker": {"color": colour_of(i)},
            **told,
        }
        if intervals is not None and name in intervals:
            trace[f"error_{along}"] = whiskers(values, *intervals[name])
        if texts:
            trace |= {"text": [named(text) for text in texts], "textposition": "auto"}
        data.append(trace)
    for i, (name, values) in enumerate((dots or {}).items(), len(series)):
        marker = {"symbol": "diamond", "size": 9, "color": colour_of(i)}
        at = {across: places, along: numbers(values), "marker": marker}
        data.append({"type": "scatter", "mode": "markers", "name": named(name), **at, **told})
    axis: Figure = {"tickmode": "array", "tickvals": places, "ticktext": shown}
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
        layout["shapes"] = [_across(reference, across, along)]
    return {"data": data, "layout": layout}


def _across(value: float, across: str, along: str) -> Figure:
    """A dashed line at a value, across all bars."""
    line = {along + "0": value, along + "1": value, across + "0": 0, across + "1": 1}
    soft = {"color": "var(--soft)", "width": 1.5, "dash": "dash"}
    return {"type": "line", across + "ref": "paper", **line, "line": soft}
