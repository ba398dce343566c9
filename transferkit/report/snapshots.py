"""Small pictures of the images of a set: whole, in pairs, or what is around a box."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from transferkit.annotations import Annotations
from transferkit.images import (
    Frame,
    ImageBag,
    ImageError,
    ImageSet,
    Item,
    content_of,
    corners_of_oriented,
    read_rgb,
)
from transferkit.report.masks import draw_masks
from transferkit.report.overlays import class_colours
from transferkit.report.thumbnails import thumbnail

__all__ = ["snapshot", "snapshot_of_box", "snapshot_of_pair"]

Box = tuple[float, float, float, float]

# What is around a box: so many times its longer side, and so many px at least.
_AROUND, _LEAST = 2.2, 96
# A box that is told of, and the dark line on both sides of it; other objects.
_TOLD, _DARK, _OTHER = (255, 225, 0), (0, 0, 0), (255, 255, 255)
_GAP = 4
_EMPTY, _GREY = (225, 225, 222), (110, 110, 110)

logger = logging.getLogger(__name__)


def snapshot(images: ImageSet, image: int, side: int = 160) -> bytes:
    """Read an image and shrink it; where it can't be read a grey picture says so.

    Parameters
    ----------
    images : ImageSet
        The images.
    image : int
        Position of one. Of an item of several images it is the first.
    side : int, default=160
        Of the square that it is shrunk into, px.

    Returns
    -------
    bytes
        A JPEG file.
    """
    return thumbnail(_read(images.items[image]) or _placeholder(side), side)


def snapshot_of_pair(images: ImageSet, one: int, other: int, side: int = 160) -> bytes:
    """Show two images side by side, both of the same height.

    Parameters
    ----------
    images : ImageSet
        The images.
    one, other : int
        Positions of two.
    side : int, default=160
        Of the square that each is shrunk into, px.
    """
    both = [_read(images.items[i]) or _placeholder(side) for i in (one, other)]
    height = min(side, *(round(side * p.height / max(p.size)) for p in both))
    shown = [p.resize((max(1, round(p.width * height / p.height)), height)) for p in both]
    sheet = Image.new("RGB", (shown[0].width + _GAP + shown[1].width, height), "white")
    sheet.paste(shown[0], (0, 0))
    sheet.paste(shown[1], (shown[0].width + _GAP, 0))
    return thumbnail(sheet, max(sheet.size))


def snapshot_of_box(
    images: ImageSet,
    image: int,
    box: Box | None,
    annotations: Annotations | None = None,
    side: int = 240,
) -> bytes:
    """Show what is around a box, with the box and the objects near it; or all of the image.

    Parameters
    ----------
    images : ImageSet
        The images.
    image : int
        Position of one.
    box : tuple of 4 floats, or None
        The box that is told of, xyxy px; None shows the whole image.
    annotations : Annotations, optional
        Of this image: its objects are drawn thinly.
    side : int, default=240
        Of the square that the picture fills, px.
    """
    picture = _read(images.items[image])
    if picture is None:
        return thumbnail(_placeholder(side), side)
    left, top, right, bottom = _around(box, picture.size)
    scale = side / max(right - left, bottom - top)
    size = max(1, round((bottom - top) * scale)), max(1, round((right - left) * scale))
    how = Image.Resampling.NEAREST if scale > 3 else Image.Resampling.LANCZOS
    small = picture.resize(size[::-1], how, box=(left, top, right, bottom))
    frame = Frame((scale, scale), (-left * scale, -top * scale))
    if annotations is not None and tuple(annotations.size) == (picture.height, picture.width):
        _draw_objects(small, annotations.moved(frame, size))
    if box is not None:
        _draw_box(small, frame.forward_boxes(np.array([box]))[0])
    return thumbnail(small, side, quality=85)


def _read(item: Item) -> Image.Image | None:
    """Decode an image, the first of a bag; None if that isn't possible."""
    try:
        first = item.items[0] if isinstance(item, ImageBag) else item
        return read_rgb(content_of(first))
    except (OSError, ImageError) as error:
        logger.debug("no picture of an image: %s", error)
        return None


def _placeholder(side: int) -> Image.Image:
    """A grey picture that says that there is none."""
    picture = Image.new("RGB", (side, side * 3 // 4), _EMPTY)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(max(10, side // 11))
    middle = (side // 2, side * 3 // 8)
    draw.text(middle, "can't be read", fill=_GREY, font=font, anchor="mm")
    return picture


def _around(box: Box | None, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of a picture (width, height) that shows a box: a square where there is room."""
    if box is None:
        return 0, 0, *size
    long = max(box[2] - box[0], box[3] - box[1], _LEAST / _AROUND) * _AROUND
    edges = []
    for low, high, end in ((box[0], box[2], size[0]), (box[1], box[3], size[1])):
        length = min(round(long), end)
        start = round(min(max((low + high - length) / 2, 0), end - length))
        edges.append((start, start + length))
    return edges[0][0], edges[1][0], edges[0][1], edges[1][1]


def _draw_objects(picture: Image.Image, annotations: Annotations) -> None:
    """Draw the outlines of objects that are in the picture; of a map its classes' colours."""
    if annotations.labels is None:
        if annotations.map is not None:
            _colour(picture, annotations.map)
        return
    if annotations.masks is not None:
        plain = dataclasses.replace(annotations, labels=np.zeros(len(annotations.masks), int))
        draw_masks(picture, plain, ["object"], [_OTHER])
        return
    draw = ImageDraw.Draw(picture)
    for corners in _corners(annotations):
        draw.line([tuple(point) for point in (*corners, corners[0])], fill=_OTHER, width=1)


def _colour(picture: Image.Image, classes: NDArray[Any]) -> None:
    """Mix a picture with the colours of its pixels' classes; void is grey."""
    n_classes = int(classes.max(initial=0)) + 1
    colours = class_colours(["background", *map(str, range(1, n_classes))])
    palette = np.array([_OTHER if c is None else c for c in colours] + [_GREY], dtype=np.float32)
    photo = np.asarray(picture).astype(np.float32)
    share = np.where(classes == 0, 0.0, 0.5)[..., None]
    mixed = photo * (1 - share) + palette[classes] * share
    picture.paste(Image.fromarray(mixed.round().astype(np.uint8)))


def _corners(annotations: Annotations) -> list[list[list[float]]]:
    """Corners (x, y) of each object's box."""
    if annotations.oriented is not None:
        corners: list[list[list[float]]] = corners_of_oriented(annotations.oriented).tolist()
        return corners
    boxes = [] if annotations.boxes is None else annotations.boxes.tolist()
    return [[[a, b], [c, b], [c, d], [a, d]] for a, b, c, d in boxes]


def _draw_box(picture: Image.Image, box: NDArray[Any]) -> None:
    """Draw the box that is told of, so that it stands out from any picture."""
    width, height = picture.size
    # A box that ends at the picture's edge keeps its line within it.
    left, top = (round(float(edge)) for edge in box[:2].clip(1, None))
    right, bottom = (round(float(e)) for e in np.minimum(box[2:], (width, height)) - 2)
    right, bottom = max(right, left + 2), max(bottom, top + 2)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_DARK, width=5)
    draw.rectangle((left, top, right, bottom), outline=_TOLD, width=3)
