"""How many values are in each bin."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from transferkit.report.charts._axes import Figure, axes, colour_of
from transferkit.report.charts._names import named

__all__ = ["histogram"]


def histogram(
    groups: Mapping[str, ArrayLike],
    span: tuple[float, float],
    *,
    x_title: str,
    y_title: str,
    is_log: bool = False,
    n_bins: int = 20,
) -> Figure:
    """Draw how many values of each group are in each bin.

    Parameters
    ----------
    groups : mapping of str to array-like
        Values by name.
    span : (float, float)
        From where to where the bins go.
    x_title, y_title : str
        The axes.
    is_log : bool, default=False
        Whether numbers are drawn as their logarithms, where some are much larger.
    n_bins : int, default=20
        How many bins there are.

    Examples
    --------
    >>> figure = histogram({"": [1, 1, 4]}, (0, 4), x_title="", y_title="images", n_bins=2)
    >>> figure["data"][0]["y"].tolist()
    [2, 1]
    """
    low, high = span if span[1] > span[0] else (span[0] - 0.5, span[0] + 0.5)
    edges = np.linspace(low, high, n_bins + 1)
    traces: list[Figure] = []
    for i, (name, values) in enumerate(groups.items()):
        counts, _ = np.histogram(values, edges)
        texts = [
            f"{first:.3g} to {last:.3g}: {n:,}"
            for first, last, n in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
        ]
        trace = {"type": "bar", "name": named(name), "x": (edges[1:] + edges[:-1]) / 2, "y": counts}
        trace |= {"hovertext": texts, "hoverinfo": "text+name", "marker": {"color": colour_of(i)}}
        traces.append(trace)
    layout = axes(x_title, y_title)
    margin = 0.02 * (high - low)
    layout["xaxis"]["range"] = [low - margin, high + margin]
    layout["yaxis"]["rangemode"] = "tozero"
    if is_log:
        most = max((float(np.max(trace["y"])) for trace in traces), default=1.0)
        top = float(np.log10(max(most, 10))) + 0.15
        layout["yaxis"] |= {"type": "log", "range": [-0.3, top], "dtick": 1}
    layout |= {"barmode": "group", "bargap": 0.08, "showlegend": len(traces) > 1}
    return {"data": traces, "layout": layout}
