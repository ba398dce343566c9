"""`CvatReader`: the boxes, polygons and masks of an image from CVAT's XML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, fromstring

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.annotations._annotations import Annotations
from transferkit.annotations._boxes import annotations_of_boxes
from transferkit.annotations._masks import Masks
from transferkit.annotations._objects import bounded_masks, number
from transferkit.annotations._oriented import MAX_PX, annotations_of_oriented, oriented_of_quads
from transferkit.annotations._regions import Region, region_of_mask, region_of_polygons
from transferkit.annotations._rle import mask_of_runs
from transferkit.images import size_of
from transferkit.images.items import Item
from transferkit.images.oriented import corners_of_oriented

__all__ = ["SHAPES", "CvatEntry", "CvatReader"]

SHAPES = ("box", "polygon", "mask")
"""Elements that are read."""
_LEFT_OUT = ("ellipse", "polyline", "points", "cuboid", "skeleton")
_IGNORED = frozenset(("difficult", "ignored", "ignore", "iscrowd"))
_SCORES = frozenset(("score", "confidence"))
_YES = frozenset(("1", "true", "yes"))


class CvatEntry(NamedTuple):
    """One image of a file: its shapes are parsed when they are asked for.

    Parameters
    ----------
    image : Item
        The image, of which the size is taken if the file doesn't tell it.
    source : str
        Name of the file.
    text : bytes
        Its XML.
    """

    image: Item
    source: str
    text: bytes


@dataclass(frozen=True, eq=False)
class CvatReader:
    """Reads the shapes of an image.

    Parameters
    ----------
    numbers : mapping of str to int
        Class of each name.
    is_oriented : bool, default=False
        Whether the file has oriented boxes.
    """

    numbers: Mapping[str, int]
    is_oriented: bool = False

    def __call__(self, entry: CvatEntry) -> Annotations:
        """Read an image. Shapes with a true attribute ``difficult`` or ``ignored`` are ignored.

        Boxes are read of every image; masks, if all of its shapes are polygons or masks that hold
        the centre of a pixel; and oriented boxes, if the file has such and the image no others.

        Raises
        ------
        ValueError
            If a shape can't be understood.
        """
        root = fromstring(entry.text)
        size = _size(root, entry)
        shapes, names = [], []
        for i, one in enumerate((one for one in root if one.tag in SHAPES), start=1):
            label = one.get("label", "").strip()
            called = f"{entry.source}: {one.tag} {i} ({label})"
            if label not in self.numbers:
                raise ValueError(f"{called} is of no class that was named")
            shapes.append(_shape(one, self.numbers[label], size, called))
            names.append(called)
        n_other = sum(one.tag in _LEFT_OUT for one in root)
        remarks = [f"{entry.source}: {n_other} of its shapes are left out: only boxes, polygons "
                   "and masks are read"] if n_other else []  # fmt: skip
        labels = [shape.label for shape in shapes]
        told: dict[str, Any] = {
            "scores": [shape.score for shape in shapes],
            "ignored": [shape.is_ignored for shape in shapes],
            "masks": _masks(shapes, size, names),
        }
        if self.is_oriented and all(shape.is_rectangle for shape in shapes):
            corners = np.array([shape.corners for shape in shapes]).reshape(-1, 4, 2)
            boxes, more = oriented_of_quads(corners, names)
            read = annotations_of_oriented(size, boxes, labels, names, remarks=more, **told)
        else:
            edges = [shape.edges for shape in shapes]
            read = annotations_of_boxes(size, edges, labels, names, **told)
        return replace(read, remarks=(*remarks, *read.remarks))


class _Shape(NamedTuple):
    label: int
    edges: list[float]
    corners: NDArray[np.float64]
    element: Element
    is_ignored: bool
    score: float | None

    @property
    def is_rectangle(self) -> bool:
        return self.element.tag != "mask" and len(self.corners) == 4


def _size(root: Element, entry: CvatEntry) -> tuple[int, int]:
    """Height and width as the file tells them, else those of the image."""
    try:
        height, width = (int(root.get(side, "")) for side in ("height", "width"))
    except ValueError:
        return size_of(entry.image)
    limit = Image.MAX_IMAGE_PIXELS
    if min(height, width) < 1 or (limit is not None and height * width > 2 * limit):
        raise ValueError(f"{entry.source}: the image is said to have {height} × {width} px")
    return height, width


def _shape(one: Element, label: int, size: tuple[int, int], called: str) -> _Shape:
    attributes = {
        child.get("name", "").strip().casefold(): (child.text or "").strip()
        for child in one.iter("attribute")
    }
    corners, edges = _outline(one, size, called)
    score = next((value for key, value in attributes.items() if key in _SCORES and value), None)
    return _Shape(
        label,
        edges,
        corners,
        one,
        any(attributes.get(key, "").casefold() in _YES for key in _IGNORED),
        None if score is None else number(score, called),
    )


def _outline(
    one: Element, size: tuple[int, int], called: str
) -> tuple[NDArray[np.float64], list[float]]:
    """Corners of a shape, or of the box of a mask, and left, top, right and bottom edge."""
    if one.tag == "polygon":
        corners = _corners(one.get("points", ""), called)
        return corners, [*corners.min(0).tolist(), *corners.max(0).tolist()]
    turn = 0.0
    if one.tag == "box":
        edges = [_value(one, key, called) for key in ("xtl", "ytl", "xbr", "ybr")]
        turn = number(one.get("rotation", "0"), called)
    else:
        left, top, width, height = map(float, _place(one, size, called))
        edges = [left, top, left + width, top + height]
    left, top, right, bottom = edges
    box = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top, -turn]
    (corners,) = corners_of_oriented([box])
    if turn:
        edges = [*corners.min(0).tolist(), *corners.max(0).tolist()]
    return corners, edges


def _value(one: Element, key: str, called: str) -> float:
    text = one.get(key)
    if text is None:
        raise ValueError(f"{called} has no {key}")
    return number(text, called)


def _corners(text: str, called: str) -> NDArray[np.float64]:
    pairs = [point.split(",") for point in text.split(";")]
    if len(pairs) < 3 or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{called} has points {text[:40]!r}; give 'x,y;x,y;x,y' or more of them")
    corners = np.array([[number(value, called) for value in pair] for pair in pairs])
    if np.abs(corners).max() > MAX_PX:
        raise ValueError(f"{called} has points that aren't in px; give up to {MAX_PX:g}")
    return corners


def _place(one: Element, size: tuple[int, int], called: str) -> tuple[int, int, int, int]:
    """Left and upper edge of a mask's box, its width and height, px."""
    values = [_value(one, key, called) for key in ("left", "top", "width", "height")]
    left, top, width, height = map(int, values)
    is_inside = left + width <= size[1] and top + height <= size[0]
    if values != [left, top, width, height] or min(values) < 0 or not is_inside:
        raise ValueError(
            f"{called}: its box of {values[2]:g} × {values[3]:g} px at ({values[0]:g}, "
            f"{values[1]:g}) isn't one of pixels of the image, which has {size[0]} × {size[1]} px"
        )
    return left, top, width, height


def _masks(shapes: Sequence[_Shape], size: tuple[int, int], names: Sequence[str]) -> Masks | None:
    """Masks of shapes, if all are polygons or masks."""
    if any(shape.element.tag == "box" for shape in shapes):
        return None
    regions = (
        region_of_polygons([shape.corners], size)
        if shape.element.tag == "polygon"
        else _region(shape.element, size, called)
        for shape, called in zip(shapes, names, strict=True)
    )
    return bounded_masks(regions, size)


def _region(one: Element, size: tuple[int, int], called: str) -> Region:
    """Pixels of a mask, which is written row by row, beginning with those outside."""
    left, top, width, height = _place(one, size, called)
    try:
        runs = [int(run) for run in one.get("rle", "").split(",")]
        part = region_of_mask(mask_of_runs(runs, (width, height)).T)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{called}: {error}") from error
    return Region(part.top + top, part.left + left, part.pixels)
