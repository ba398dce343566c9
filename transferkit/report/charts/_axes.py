"""What all charts share: axes, colours, symbols and whiskers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from transferkit.report.charts._names import named

__all__ = [
    "DASHES",
    "N_COLOURS",
    "SYMBOLS",
    "Figure",
    "axes",
    "colour_of",
    "has_words",
    "marked",
    "numbers",
    "whiskers",
    "words_or_numbers",
]

N_COLOURS = 8
"""How many colours a page has for traces, ``var(--c1)`` to ``var(--c8)``."""

# Beside its colour each trace has a symbol and, after eight, a dash of its own.
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "triangle-down", "star", "cross")
DASHES = ("solid", "dash", "dot", "dashdot")

Figure = dict[str, Any]


def axes(x_title: str, y_title: str) -> Figure:
    return {
        "xaxis": {"title": {"text": named(x_title)}},
        "yaxis": {"title": {"text": named(y_title)}},
    }


def colour_of(i: int) -> str:
    return f"var(--c{i % N_COLOURS + 1})"


def numbers(values: ArrayLike) -> list[Any]:
    return list(np.asarray(values).tolist())


def has_words(values: ArrayLike) -> bool:
    return np.asarray(values).dtype.kind in "US"


def words_or_numbers(values: ArrayLike) -> list[Any]:
    return [named(value) if isinstance(value, str) else value for value in numbers(values)]


def whiskers(values: ArrayLike, low: ArrayLike, high: ArrayLike) -> Figure:
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


def marked(at: float, text: str, span: tuple[float, float] = (0, 1)) -> Figure:
    """Parts of a layout: a dashed upright line across a chart, with words at its top.

    The words go to the side of it where there is more room, on an axis from ``span[0]`` to
    ``span[1]``.
    """
    side = "right" if at > sum(span) / 2 else "left"
    line = {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper"}
    words = {"x": at, "y": 1, "yref": "paper", "text": named(text)}
    return {
        "shapes": [{**line, "line": {"dash": "dash", "width": 1.5, "color": "#8a8d92"}}],
        "annotations": [{**words, "showarrow": False, "xanchor": side, "yanchor": "bottom"}],
    }
