"""The confusion matrix as a chart, and the pairs of classes that are taken for one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transferkit.report.captions import caption
from transferkit.report.page import Chart, DataTable, Part

__all__ = ["MOST_CLASSES", "confusion_parts"]

MOST_CLASSES = 40
"""Of more classes than these only those that are confused most have rows and columns."""
_FEWER, _PAIRS, _NUMBERS = 30, 25, 25
# Opaque, so that plotly chooses a text that can be read on it; cells of 0 are left out.
_SCALE = [[0, "#dbe8f6"], [0.5, "#7fb0de"], [1, "#1d5896"]]
_ERRORS = [[0, "#fbe3d3"], [0.4, "#ee9c68"], [1, "#a8430b"]]


def confusion_parts(counts: ArrayLike, labels: Sequence[str]) -> list[Part]:
    """Chart of a confusion matrix, and a table of the pairs with most errors.

    Parameters
    ----------
    counts : array of int, shape (n_classes, n_classes)
        Row = true class, column = predicted class.
    labels : sequence of str
        Their names.

    Returns
    -------
    list of Part
        The chart; and the table, unless nothing is confused.
    """
    matrix = np.asarray(counts)
    shown = _most_confused(matrix) if len(labels) > MOST_CLASSES else np.arange(len(labels))
    parts: list[Part] = [_chart(matrix, labels, shown)]
    if pairs := _pairs(matrix, labels):
        header = ("true class", "taken for", "images", "% of the true class")
        n_all = int((matrix > 0).sum() - (np.diag(matrix) > 0).sum())
        more = "" if n_all <= len(pairs) else f": the {len(pairs)} largest of {n_all:,}"
        parts.append(DataTable(header, pairs, f"Classes taken for others{more}"))
    return parts


def _most_confused(matrix: NDArray[Any]) -> NDArray[Any]:
    """Positions of the classes with most errors, in their own order."""
    errors = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diag(matrix)
    return np.sort(np.argsort(-errors, kind="stable")[:_FEWER])


def _pairs(matrix: NDArray[Any], labels: Sequence[str]) -> list[list[str | float | None]]:
    """The pairs of different classes with most images."""
    errors = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-errors, axis=None, kind="stable")[:_PAIRS]
    rows: list[list[str | float | None]] = []
    for i, j in zip(*np.unravel_index(order, errors.shape), strict=True):
        n = int(errors[i, j])
        if n:
            rows.append([labels[i], labels[j], n, round(100 * n / int(matrix[i].sum()), 1)])
    return rows


def _chart(matrix: NDArray[Any], labels: Sequence[str], shown: NDArray[Any]) -> Chart:
    part = matrix[np.ix_(shown, shown)]
    # A share of its own row: common classes don't hide rare ones. The root shows single errors.
    shares = np.sqrt(part / np.maximum(matrix[shown].sum(axis=1, keepdims=True), 1))
    is_right = np.eye(len(shown), dtype=bool)
    names = [caption(labels[i], 24) for i in shown]
    is_few = len(shown) <= _NUMBERS
    traces = []
    for where, scale in ((is_right, _SCALE), (~is_right, _ERRORS)):
        there = where & (part > 0)
        traces.append(
            {
                "type": "heatmap",
                "z": np.where(there, shares, np.nan),
                "zmin": 0,
                "zmax": 1,
                "colorscale": scale,
                "showscale": False,
                "xgap": 1,
                "ygap": 1,
                "text": np.where(there, part, "").tolist(),
                "texttemplate": "%{text}" if is_few else "",
                "customdata": np.where(there, part, 0).tolist(),
                "hovertemplate": "true %{y}<br>predicted %{x}<br>%{customdata} images"
                "<extra></extra>",
            }
        )
    axis: dict[str, Any] = {
        "tickmode": "array",
        "tickvals": list(range(len(shown))),
        "ticktext": names,
    }
    axis |= {"showgrid": False, "zeroline": False}
    layout = {
        "xaxis": {**axis, "title": {"text": "predicted"}, "tickangle": -45 if _long(names) else 0},
        "yaxis": {**axis, "title": {"text": "true"}, "autorange": "reversed"},
        "showlegend": False,
    }
    return Chart(
        {"data": traces, "layout": layout},
        f"Confusion matrix of {len(shown)} classes: true classes in rows, predicted in columns",
        height=min(820, max(360, 120 + 24 * len(shown))),
    )


def _long(names: Sequence[str]) -> bool:
    return max(map(len, names)) > 2 and len(names) > 3
