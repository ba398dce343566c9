"""Curves of shares over shares, with the point where the model stands."""

from __future__ import annotations

from collections.abc import Sequence

from transferkit.report.charts import Curve, Figure, Points, lines, scatter

__all__ = ["share_curves"]


def share_curves(
    curves: Sequence[Curve], *, x_title: str, y_title: str, dot: Points | None = None
) -> Figure:
    """Draw curves on axes from 0 to 1.

    Parameters
    ----------
    curves : sequence of Curve
        The curves.
    x_title, y_title : str
        The axes.
    dot : Points, optional
        Where the model stands with the threshold that it chose.

    Examples
    --------
    >>> dot = Points("chosen", [0.5], [0.7])
    >>> figure = share_curves([Curve("a", [0, 1], [1, 0])], x_title="x", y_title="y", dot=dot)
    >>> [trace["name"] for trace in figure["data"]]
    ['a', 'chosen']
    """
    figure = lines(
        curves,
        x_title=x_title,
        y_title=y_title,
        x_range=(0, 1.02),
        y_range=(0, 1.03),
        has_points=False,
    )
    if dot is not None:
        (trace,) = scatter([dot], x_title=x_title, y_title=y_title)["data"]
        colour = f"var(--c{len(curves) % 8 + 1})"
        trace["marker"] |= {"size": 11, "symbol": "diamond", "color": colour}
        figure["data"].append(trace)
    figure["layout"]["showlegend"] = len(figure["data"]) > 1
    return figure
