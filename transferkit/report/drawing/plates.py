"""Small plates that name the objects of a picture, and the colours of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from PIL import ImageDraw, ImageFont

from transferkit.annotations import Annotations

__all__ = ["CROWD", "RGB", "draw_plates", "paints_of", "texts_of"]

RGB = tuple[int, int, int]

CROWD = 60
"""With more objects than this lines are thin, and plates would hide what they tell of."""
_IGNORED_COLOUR = (128, 128, 128)
_OTHER_COLOUR = (255, 255, 255)
_DARK = (0, 0, 0)
_LONGEST_NAME = 24


def paints_of(annotations: Annotations, colours: Sequence[RGB | None]) -> list[RGB]:
    """Colour of each object: grey if it is ignored, white if its class has none."""
    assert annotations.labels is not None
    paints = [
        (colours[label] if 0 <= label < len(colours) else None) or _OTHER_COLOUR
        for label in annotations.labels.tolist()
    ]
    if annotations.ignored is None:
        return paints
    ignored = annotations.ignored.tolist()
    return [
        _IGNORED_COLOUR if is_so else paint for is_so, paint in zip(ignored, paints, strict=True)
    ]


def texts_of(annotations: Annotations, classes: Sequence[str]) -> list[str]:
    """Class of each object, and its score if it has one."""
    assert annotations.labels is not None
    texts = []
    for i, label in enumerate(annotations.labels.tolist()):
        name = classes[label] if 0 <= label < len(classes) else str(label)
        short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
        score = "" if annotations.scores is None else f" {float(annotations.scores[i]):.2f}"
        texts.append(short + score)
    return texts


def draw_plates(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    plates: Sequence[tuple[NDArray[Any], str, RGB]],
    *,
    is_apart: bool = False,
) -> None:
    """Write on plates, the most important first, wherever one lies on no other.

    Parameters
    ----------
    draw : PIL.ImageDraw.ImageDraw
        Of the picture.
    size : (int, int)
        Its width and height.
    plates : sequence of (box, text, colour)
        Left, top, right and bottom px of what each tells of, and what stands on it.
    is_apart : bool, default=False
        Whether a plate may lie on nothing but what it tells of.
    """
    font = ImageFont.load_default(max(12, min(20, max(size) // 50)))
    height = round(font.getbbox("Äg")[3]) + 3
    taken: list[tuple[int, int, int, int]] = []
    boxes = [(box[0], box[1], box[2], box[3]) for box in (one.tolist() for one, _, _ in plates)]
    for i, (box, text, colour) in enumerate(plates):
        others = [*boxes[:i], *boxes[i + 1 :]] if is_apart else []
        width = round(font.getlength(text)) + 6
        place = _room(box.tolist(), width, height, size, [*taken, *others])
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
