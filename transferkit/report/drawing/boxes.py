"""Draw the boxes of objects over a picture, with their classes and scores on small plates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from transferkit.annotations import Annotations
from transferkit.images import corners_of_oriented, upright_of_oriented
from transferkit.report.drawing.plates import CROWD, RGB, draw_plates, paints_of, texts_of

__all__ = ["draw_boxes"]

_DARK = (0, 0, 0)
# Shorter boxes, px of the picture, have thin lines too; of so many as half of them.
_TINY = 20
# px beside the picture up to which lines are drawn.
_BESIDE = 9


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

    Where there are oriented boxes, they are drawn, and not the upright ones around them. A plate
    with the class, and the score if there is one, stands above its box, or where there is room;
    it is left out where it would lie on another plate, and everywhere if there are more than 60
    boxes. Ignored objects are grey.

    Parameters
    ----------
    picture : PIL.Image.Image
        RGB; it is changed.
    annotations : Annotations
        With boxes, upright or oriented, and labels.
    classes : sequence of str
        Names of the classes, by number.
    colours : sequence of (int, int, int) or None
        Their colours; white for those that have none.
    scale : float
        Picture px per px of the boxes.
    is_dashed : ndarray of bool, shape (m,), optional
        Boxes whose lines are dashed.
    """
    assert annotations.labels is not None
    turned = None if annotations.oriented is None else annotations.oriented * _units(scale)
    if turned is None:
        assert annotations.boxes is not None
        around = np.asarray(annotations.boxes, dtype=float) * scale
        sides = around[:, 2:] - around[:, :2]
    else:
        around, sides = upright_of_oriented(turned), turned[:, 2:4]
    boxes = _corners(around, picture.size)
    dashed = np.zeros(len(boxes), dtype=bool) if is_dashed is None else is_dashed
    paints = paints_of(annotations, colours)
    order = _drawing_order(sides.prod(axis=1), annotations.scores)
    width = _line_width(sides.min(axis=1), picture.size)
    draw = ImageDraw.Draw(picture)
    for i in order:
        if turned is None:
            _frame(draw, boxes[i].tolist(), paints[i], width, is_dashed=bool(dashed[i]))
        else:
            edges = list(_edges(turned[i], picture.size))
            _turned_frame(draw, edges, paints[i], width, is_dashed=bool(dashed[i]))
    if len(boxes) <= CROWD:
        texts = texts_of(annotations, classes)
        plates = [(boxes[i], texts[i], paints[i]) for i in order[::-1]]
        # Objects seen from above are small and many, and plates would hide those beside them.
        draw_plates(draw, picture.size, plates, is_apart=turned is not None)


def _units(scale: float) -> NDArray[np.float64]:
    """Picture px per px of an oriented box's centre and sides; its angle stays."""
    return np.array([scale, scale, scale, scale, 1.0])


def _corners(boxes: NDArray[Any], size: tuple[int, int]) -> NDArray[np.int64]:
    """First and last pixel of each box that are in the picture."""
    width, height = size
    corners = np.round(boxes) - (0, 0, 1, 1)
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2])
    return corners.clip(0, (width - 1, height - 1, width - 1, height - 1)).astype(np.int64)


def _drawing_order(areas: NDArray[Any], scores: NDArray[Any] | None) -> list[int]:
    """Lowest scores first; without scores large boxes first, so that small ones can be seen."""
    order: list[int] = np.argsort(-areas if scores is None else scores, kind="stable").tolist()
    return order


def _line_width(shorter: NDArray[Any], size: tuple[int, int]) -> int:
    if not len(shorter) or len(shorter) > CROWD or np.median(shorter) < _TINY:
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


# ---- oriented boxes -----------------------------------------------------------------

Edge = tuple[NDArray[np.float64], NDArray[np.float64]]


def _edges(box: NDArray[Any], size: tuple[int, int]) -> Iterator[Edge]:
    """Both ends of the parts of a box's edges that can be seen, px from the first one's centre."""
    corners = corners_of_oriented(box[None])[0] - 0.5
    low, high = np.full(2, -_BESIDE), np.array(size) + _BESIDE
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        # An edge may be much longer than the picture, and is drawn px by px.
        run = end - start
        with np.errstate(divide="ignore", invalid="ignore"):
            at = np.sort(np.nan_to_num(np.stack([low - start, high - start]) / run), axis=0)
        is_level = run == 0
        if (is_level & ((start < low) | (start > high))).any():
            continue
        first, last = at[0][~is_level].max(initial=0.0), at[1][~is_level].min(initial=1.0)
        if first <= last:
            yield start + first * run, start + last * run


def _turned_frame(
    draw: ImageDraw.ImageDraw, edges: Sequence[Edge], colour: RGB, width: int, *, is_dashed: bool
) -> None:
    """Draw a box's edges with a dark line around them, or below the gaps of dashes."""
    if width > 1:
        for start, end in edges:
            draw.line([*start, *end], fill=_DARK, width=width if is_dashed else width + 2)
    for start, end in edges:
        for part in _parts(start, end, width) if is_dashed else [(start, end)]:
            draw.line([*part[0], *part[1]], fill=colour, width=width)


def _parts(start: NDArray[Any], end: NDArray[Any], width: int) -> Iterator[Edge]:
    """Dashes along an edge."""
    dash, step = 3 * width - 1, 5 * width
    length = float(np.linalg.norm(end - start))
    along = (end - start) / max(length, 1e-9)
    for at in np.arange(0, length + 1e-9, step):
        yield start + at * along, start + min(at + dash, length) * along
