"""What formats of boxes share: names of classes, numbers, and the objects that are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations._annotations import Annotations
from transferkit.annotations._classes import ClassTable, is_background
from transferkit.annotations._masks import Masks
from transferkit.annotations._regions import Region
from transferkit.images.oriented import corners_of_oriented, upright_of_oriented

__all__ = [
    "BoxedObject",
    "bounded_masks",
    "class_numbers",
    "label_names",
    "named_classes",
    "number",
    "objects_of",
    "written_number",
]

MAX_REGION_PIXELS = 2**30
"""Pixels of the rectangles around all objects of an image, which are held in memory together."""


class BoxedObject(NamedTuple):
    """One object, as formats of boxes write it.

    Parameters
    ----------
    label : str
        Name of its class.
    box : (float, float, float, float)
        Left, top, right and bottom edge, px.
    score : float or None
        Of a prediction.
    is_ignored : bool
        Whether it counts neither way.
    oriented : tuple of five float, or None
        Its oriented box; see `transferkit.images.oriented`.
    """

    label: str
    box: tuple[float, float, float, float]
    score: float | None
    is_ignored: bool
    oriented: tuple[float, ...] | None = None

    @property
    def corners(self) -> NDArray[np.float64]:
        """Corners (4, 2) of the oriented box, or of the upright one where there is none, px."""
        if self.oriented is not None:
            (corners,) = corners_of_oriented([self.oriented])
            return np.asarray(corners)
        left, top, right, bottom = self.box
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def label_names(table: ClassTable | None, found: Iterable[str]) -> tuple[str, ...]:
    """Names of the classes: those of a table, else those found, sorted; a background first."""
    names = sorted(set(found)) if table is None else list(table.names)
    if not names or not is_background(names[0]):
        names = ["background", *(name for name in names if not is_background(name))]
    return tuple(names)


def class_numbers(names: Sequence[str]) -> dict[str, int]:
    """Class of each name; that of the background stands for no object."""
    return {name: i for i, name in enumerate(names) if i or not is_background(name)}


def named_classes(classes: Sequence[str]) -> tuple[list[str], int]:
    """Classes that objects can have, and the number of the first of them."""
    first = 1 if classes and is_background(classes[0]) else 0
    return list(classes[first:]), first


def number(text: str, called: str) -> float:
    """Read a number.

    Raises
    ------
    ValueError
        If it is none, or not finite.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{called}: {text.strip()[:40]!r} is no number")
    return value


def written_number(value: float) -> str:
    """Write a number so that it is read as the same one, without an exponent.

    Examples
    --------
    >>> written_number(2.0), written_number(1e-5)
    ('2', '0.00001')
    """
    return np.format_float_positional(value, trim="-")


def bounded_masks(regions: Iterable[Region], size: tuple[int, int]) -> Masks | None:
    """Masks of an image's objects; None if one has no pixel, which can't be learnt or found.

    Parameters
    ----------
    regions : iterable of Region
        One for each object, made as they are asked for.
    size : (int, int)
        Height and width of the image, px.

    Raises
    ------
    ValueError
        If they take too much memory.
    """
    held, n_pixels = [], 0
    for region in regions:
        held.append(region)
        n_pixels += region.pixels.size
        if n_pixels > MAX_REGION_PIXELS:
            raise ValueError(
                f"its masks take more than {MAX_REGION_PIXELS / 2**30:g} GiB; cut the image into "
                "tiles, or leave objects out"
            )
    masks = Masks(size, held)
    return masks if masks.areas.all() else None


def objects_of(one: Annotations, classes: Sequence[str], name: str) -> Iterator[BoxedObject]:
    """Go through the objects of an image; lacking boxes are those around oriented ones or masks.

    Raises
    ------
    ValueError
        If the annotations have no boxes or labels, or a label no name.
    """
    boxes = one.boxes
    if boxes is None and one.oriented is not None:
        boxes = upright_of_oriented(one.oriented)
    if boxes is None and one.masks is not None:
        boxes = one.masks.boxes
    if boxes is None or one.labels is None:
        raise ValueError(f"{name!r} has no boxes with labels to be written")
    for i, label in enumerate(one.labels.tolist()):
        if not 0 <= label < len(classes):
            raise ValueError(
                f"{name!r} has an object of class {label}; there are {len(classes)} classes"
            )
        left, top, right, bottom = np.asarray(boxes[i], dtype=float).tolist()
        yield BoxedObject(
            str(classes[label]),
            (left, top, right, bottom),
            None if one.scores is None else float(one.scores[i]),
            one.ignored is not None and bool(one.ignored[i]),
            None if one.oriented is None else tuple(map(float, one.oriented[i])),
        )
