"""Draw the boxes of objects over a picture, with their classes and scores on small plates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from transferkit.annotations import Annotations

__all__ = ["CROWD", "draw_boxes"]

RGB = tuple[int, int, int]

_IGNORED_COLOUR = (128, 128, 128)
_OTHER_COLOUR = (255, 255, 255)
_DARK = (0, 0, 0)
CROWD = 60
"""With more boxes than this lines are thin, and plates would hide what they tell of."""
# Shorter boxes, px of the picture, have thin lines too; of so many as half of them.
_TINY = 20
_LONGEST_NAME = 24


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
    ignored = annotations.ignored
    paints = [
        _IGNORED_COLOUR if ignored is not None and ignored[i] else _colour(colours, int(label))
        for i, label in enumerate(annotations.labels)
    ]
    order = _drawing_order(boxes, annotations.scores)
    width = _line_width(boxes, picture.size)
    draw = ImageDraw.Draw(picture)
    for i in order:
        _frame(draw, boxes[i].tolist(), paints[i], width, is_dashed=bool(dashed[i]))
    if len(boxes) <= CROWD:
        texts = _texts(annotations, classes)
        _draw_plates(draw, picture.size, [(boxes[i], texts[i], paints[i]) for i in order[::-1]])


def _corners(boxes: NDArray[Any], size: tuple[int, int]) -> NDArray[np.int64]:
    """First and last pixel of each box that are in the picture."""
    width, height = size
    corners = np.round(boxes) - (0, 0, 1, 1)
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2])
    return corners.clip(0, (width - 1, height - 1, width - 1, height - 1)).astype(np.int64)


def _colour(colours: Sequence[RGB | None], label: int) -> RGB:
    found = colours[label] if 0 <= label < len(colours) else None
    return found or _OTHER_COLOUR


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


# ---- plates -------------------------------------------------------------------------


def _texts(annotations: Annotations, classes: Sequence[str]) -> list[str]:
    assert annotations.labels is not None
    texts = []
    for i, label in enumerate(annotations.labels.tolist()):
        name = classes[label] if 0 <= label < len(classes) else str(label)
        short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
        score = "" if annotations.scores is None else f" {float(annotations.scores[i]):.2f}"
        texts.append(short + score)
    return texts


def _draw_plates(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    plates: Sequence[tuple[NDArray[Any], str, RGB]],
) -> None:
    """Write on plates, the most important first, wherever one lies on no other."""
    font = ImageFont.load_default(max(12, min(20, max(size) // 50)))
    height = round(font.getbbox("Äg")[3]) + 3
    taken: list[tuple[int, int, int, int]] = []
    for box, text, colour in plates:
        place = _room(box.tolist(), round(font.getlength(text)) + 6, height, size, taken)
        if place is None:
            continue
        taken.append(place)
        left, top, right, bottom = place
        draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)
        draw.text((left + 3, top), text, fill=_readable_on(colour), font=font)


def _room(
    box: list[int],
    width: int,
    height: int,
    size: tuple[int, int],
    taken: Sequence[tuple[int, int, int, int]],
) -> tuple[int, int, int, int] | None:
    """Where a plate fits into the picture: above its box, below, or inside at the top."""
    left = max(0, min(box[0], size[0] - width))
    for top in (box[1] - height, box[3] + 1, box[1]):
        place = (left, top, left + width, top + height)
        if top >= 0 and place[3] <= size[1] and not any(_meet(place, other) for other in taken):
            return place
    return None


def _meet(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _readable_on(colour: RGB) -> RGB:
    red, green, blue = colour
    return _DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else (255, 255, 255)
