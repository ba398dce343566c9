"""Draw the boxes of objects over a picture, with their classes and scores on small plates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from transferkit.annotations import Annotations
from transferkit.report.plates import CROWD, RGB, draw_plates, paints_of, texts_of

__all__ = ["draw_boxes"]

_DARK = (0, 0, 0)
# Shorter boxes, px of the picture, have thin lines too; of so many as half of them.
_TINY = 20


def draw_boxes(
    picture: Image.Image,
    annotations: Annotations,
    classes: Sequence[str],
    colours: Sequence[RGB | None],
    scale: float,
    *,
    is_dashed: NDArray[np.bool_] | None = None,
) -> None:
    """Draw the boxes of objects into a picture, those of the highest scores on top.

    A plate with the class, and the score if there is one, stands above its box, or where there
    is room; it is left out where it would lie on another plate, and everywhere if there are
    more than 60 boxes. Ignored objects are grey.

    Parameters
    ----------
    picture : PIL.Image.Image
        RGB; it is changed.
    annotations : Annotations
        With boxes and labels.
    classes : sequence of str
        Names of the classes, by number.
    colours : sequence of (int, int, int) or None
        Their colours; white for those that have none.
    scale : float
        Picture px per px of the boxes.
    is_dashed : ndarray of bool, shape (m,), optional
        Boxes whose lines are dashed.
    """
    assert annotations.boxes is not None
    assert annotations.labels is not None
    boxes = _corners(np.asarray(annotations.boxes, dtype=float) * scale, picture.size)
    dashed = np.zeros(len(boxes), dtype=bool) if is_dashed is None else is_dashed
    paints = paints_of(annotations, colours)
    order = _drawing_order(boxes, annotations.scores)
    width = _line_width(boxes, picture.size)
    draw = ImageDraw.Draw(picture)
    for i in order:
        _frame(draw, boxes[i].tolist(), paints[i], width, is_dashed=bool(dashed[i]))
    if len(boxes) <= CROWD:
        texts = texts_of(annotations, classes)
        draw_plates(draw, picture.size, [(boxes[i], texts[i], paints[i]) for i in order[::-1]])


def _corners(boxes: NDArray[Any], size: tuple[int, int]) -> NDArray[np.int64]:
    """First and last pixel of each box that are in the picture."""
    width, height = size
    corners = np.round(boxes) - (0, 0, 1, 1)
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2])
    return corners.clip(0, (width - 1, height - 1, width - 1, height - 1)).astype(np.int64)


def _drawing_order(boxes: NDArray[Any], scores: NDArray[Any] | None) -> list[int]:
    """Lowest scores first; without scores large boxes first, so that small ones can be seen."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order: list[int] = np.argsort(-areas if scores is None else scores, kind="stable").tolist()
    return order


def _line_width(boxes: NDArray[Any], size: tuple[int, int]) -> int:
    if not len(boxes):
        return 1
    sides = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    if len(boxes) > CROWD or np.median(sides) < _TINY:
        return 1
    return 3 if max(size) > 900 else 2


def _frame(
    draw: ImageDraw.ImageDraw, box: list[int], colour: RGB, width: int, *, is_dashed: bool
) -> None:
    """Draw a box inside its border; the dark line around it stands out from any picture."""
    left, top, right, bottom = box
    if width > 1 and not is_dashed:
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_DARK, width=1)
    if not is_dashed:
        draw.rectangle((left, top, right, bottom), outline=colour, width=width)
        return
    if width > 1:
        draw.rectangle((left, top, right, bottom), outline=_DARK, width=width)
    for x, y, u, v in _dashes(left, top, right, bottom, width):
        draw.rectangle((x, y, u, v), fill=colour)


def _dashes(
    left: int, top: int, right: int, bottom: int, width: int
) -> list[tuple[int, int, int, int]]:
    """Rectangles of a dashed line along a box's inner border."""
    dash, step, inner = 3 * width, 5 * width, width - 1
    parts = []
    for x in range(left, right + 1, step):
        end = min(x + dash - 1, right)
        parts.append((x, top, end, min(top + inner, bottom)))
        parts.append((x, max(bottom - inner, top), end, bottom))
    for y in range(top, bottom + 1, step):
        end = min(y + dash - 1, bottom)
        parts.append((left, y, min(left + inner, right), end))
        parts.append((max(right - inner, left), y, right, end))
    return parts
