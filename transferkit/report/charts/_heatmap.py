"""Tables of numbers as colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from transferkit.report.charts._axes import (
    Figure,
    axes,
)
from transferkit.report.charts._names import named

__all__ = ["heatmap"]

# Numbers in cells of heat maps with more rows or columns would overlap.
_MOST_TEXTS = 20


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
    hovers: Sequence[Sequence[str]] | None = None,
    unit: str = "",
    most_texts: int = _MOST_TEXTS,
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
        What stands in the cells; by default the numbers.
    shades : array-like of shape (n, m), optional
        What is coloured instead of `values`, such as shares of a row or roots of counts.
    span : (float, float), optional
        Values of the first and the last colour.
    is_diverging : bool, default=False
        Whether colours differ on both sides of 0.
    hovers : sequence of sequence of str, optional
        What the pointer is told of each cell; in lines; by default its row, its column and
        its text.
    unit : str, default=""
        Of the scale of colours that stands beside the table; by default none does.
    most_texts : int, default=20
        With more rows or columns nothing stands in the cells.

    Examples
    --------
    >>> figure = heatmap([[3, 1], [0, 4]], "ab", "ab", x_title="predicted", y_title="true")
    >>> figure["data"][0]["texttemplate"]
    '%{text}'
    """
    table = np.asarray(values, dtype=float)
    coloured = table if shades is None else np.asarray(shades, dtype=float)
    written = [[_short(value) for value in row] for row in table.tolist()]
    shown = written if texts is None else texts
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
    if max(table.shape, default=0) <= most_texts:
        trace["texttemplate"] = "%{text}"
    if hovers is not None:
        del trace["hovertemplate"]
        trace["hovertext"] = [
            ["<br>".join(map(named, t.split("\n"))) for t in row] for row in hovers
        ]
        trace["hoverinfo"] = "text"
    if unit:
        bar = {"title": {"text": named(unit)}, "thickness": 10}
        trace |= {"showscale": True, "colorbar": bar}
    if is_diverging:
        reach = float(np.nanmax(np.abs(coloured), initial=0)) or 1.0
        span = (-reach, reach) if span is None else span
        ends = [[0, "var(--c2)"], [0.5, "var(--card)"], [1, "var(--c1)"]]
        trace["colorscale"] = ends
    if span is not None:
        trace |= {"zmin": span[0], "zmax": span[1]}
    layout = axes(x_title, y_title)
    # Numbers with labels rather than categories, as two classes may have the same name in part.
    for axis, names in (("xaxis", columns), ("yaxis", rows)):
        ticks = {"tickvals": list(range(len(names))), "ticktext": [named(name) for name in names]}
        layout[axis] |= {"tickmode": "array", "showgrid": False, "zeroline": False, **ticks}
    layout["yaxis"]["autorange"] = "reversed"
    return {"data": [trace], "layout": layout}


def _short(value: float) -> str:
    if not np.isfinite(value):
        return ""
    return f"{value:,.0f}" if value == round(value) else f"{value:.3g}"


def _of_lines(text: str) -> str:
    return "<br>".join(map(named, text.split("\n")))
