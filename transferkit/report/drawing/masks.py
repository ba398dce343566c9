"""Draw the masks of objects over a picture, translucent, with contours and small plates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from transferkit.annotations import Annotations, Masks, Region
from transferkit.images import Frame
from transferkit.report.drawing.plates import CROWD, RGB, draw_plates, paints_of, texts_of

__all__ = ["draw_masks"]

Floats = NDArray[np.float32]

_FILL, _HATCHED = 0.4, 0.75
# A class's colour, and this much of white or black in it: neighbours of one class have others.
_SHADES = ((0.0, 255), (0.5, 255), (0.45, 0), (0.75, 255))
# Objects that are no further apart than this, px of the picture, are neighbours.
_NEAR = 4
# Stripes of hatched objects, px of the picture.
_STRIPE = 4


def draw_masks(
    picture: Image.Image,
    annotations: Annotations,
    classes: Sequence[str],
    colours: Sequence[RGB | None],
    *,
    is_hatched: NDArray[np.bool_] | None = None,
) -> None:
    """Draw the masks of objects into a picture, those of the highest scores on top.

    Objects of one class that touch have different shades of its colour. Those that are ignored
    are grey. Plates tell the class if there are several, and the score if there is one, wherever
    they cover no other object; there are none with more than 60 objects.

    Parameters
    ----------
    picture : PIL.Image.Image
        RGB, of the image that the masks are of in whatever size; it is changed.
    annotations : Annotations
        With masks and labels.
    classes : sequence of str
        Names of the classes, by number.
    colours : sequence of (int, int, int) or None
        Their colours; white for those that have none.
    is_hatched : ndarray of bool, shape (m,), optional
        Objects that are hatched.
    """
    assert annotations.masks is not None
    masks = _scaled(annotations.masks, picture.size)
    n = len(masks)
    hatched = np.zeros(n, dtype=bool) if is_hatched is None else is_hatched
    rank = -masks.areas if annotations.scores is None else annotations.scores
    order = np.argsort(rank, kind="stable").tolist()
    paints = _shaded(masks, order, paints_of(annotations, colours))
    canvas = np.asarray(picture).astype(np.float32)
    for i in order:
        _fill(canvas, masks.regions[i], paints[i], is_hatched=bool(hatched[i]))
    width = 1 if n > CROWD else 2
    for i in order:
        _outline(canvas, masks.regions[i], paints[i], width)
    picture.paste(Image.fromarray(canvas.round().clip(0, 255).astype(np.uint8)))
    if n <= CROWD:
        boxes, texts = masks.boxes.astype(int), _texts(annotations, classes)
        plates = [
            (boxes[i], texts[i], paints[i])
            for i in order[::-1]
            if texts[i] and masks.regions[i].area
        ]
        draw_plates(ImageDraw.Draw(picture), picture.size, plates, is_apart=True)


def _texts(annotations: Annotations, classes: Sequence[str]) -> list[str]:
    """What stands on plates; of one class alone just the scores, as the legend names it."""
    if len(np.unique(np.asarray(annotations.labels))) > 1:
        return texts_of(annotations, classes)
    if annotations.scores is None:
        return [""] * len(annotations.masks or ())
    return [f"{score:.2f}" for score in annotations.scores.tolist()]


def _scaled(masks: Masks, size: tuple[int, int]) -> Masks:
    """Masks in a picture of some width and height."""
    (width, height), (rows, columns) = size, masks.size
    if (height, width) == masks.size:
        return masks
    return masks.moved(Frame((width / columns, height / rows), (0, 0)), (height, width))


def _place(region: Region) -> tuple[slice, slice]:
    height, width = region.pixels.shape
    return np.s_[region.top : region.top + height, region.left : region.left + width]


# ---- shades -------------------------------------------------------------------------


def _shaded(masks: Masks, order: Sequence[int], paints: Sequence[RGB]) -> list[RGB]:
    """Colours of objects, in which neighbours of one colour have other shades."""
    near = _neighbours(masks, order)
    shades: dict[int, int] = {}
    for i in order[::-1]:
        taken = [shades[k] for k in near[i] if k in shades and paints[k] == paints[i]]
        shades[i] = min(range(len(_SHADES)), key=taken.count)
    return [_mixed(paint, *_SHADES[shades[i]]) for i, paint in enumerate(paints)]


def _neighbours(masks: Masks, order: Sequence[int]) -> list[set[int]]:
    """Objects that are near to each one, where both can be seen."""
    numbers = np.full(masks.size, -1, dtype=np.int32)
    for i in order:
        masks.regions[i].paint(numbers, i)
    near: list[set[int]] = [set() for _ in range(len(masks))]
    for step in range(1, _NEAR + 1):
        for one, other in (
            (numbers[step:], numbers[:-step]),
            (numbers[:, step:], numbers[:, :-step]),
        ):
            meets = (one != other) & (one >= 0) & (other >= 0)
            for i, k in np.unique(np.stack([one[meets], other[meets]]), axis=1).T.tolist():
                near[i].add(k)
                near[k].add(i)
    return near


def _mixed(colour: RGB, share: float, grey: int) -> RGB:
    red, green, blue = (round(part * (1 - share) + grey * share) for part in colour)
    return red, green, blue


# ---- pixels -------------------------------------------------------------------------


def _fill(canvas: Floats, region: Region, colour: RGB, *, is_hatched: bool) -> None:
    part = canvas[_place(region)]
    strength = np.where(region.pixels, np.float32(_FILL), 0)
    if is_hatched:
        rows, columns = np.indices(region.pixels.shape)
        is_stripe = (rows + columns + region.top + region.left) // _STRIPE % 2 == 0
        strength = np.where(region.pixels & is_stripe, np.float32(_HATCHED), 0)
    part += strength[..., None] * (np.array(colour, dtype=np.float32) - part)


def _outline(canvas: Floats, region: Region, colour: RGB, width: int) -> None:
    """Paint the outermost pixels of an object; the image's border is part of its contour."""
    inner = region.pixels
    for _ in range(width):
        padded = np.pad(inner, 1)
        inner = inner & padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
    canvas[_place(region)][region.pixels & ~inner] = colour
