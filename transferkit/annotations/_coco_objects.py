"""`CocoReader`: the objects of an image from their JSON, and the class of every pixel."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.annotations._annotations import Annotations
from transferkit.annotations._boxes import fields_of_objects, mended_boxes
from transferkit.annotations._coco_file import whole_number
from transferkit.annotations._masks import Masks
from transferkit.annotations._oriented import mended_oriented, oriented_of_quads
from transferkit.annotations._regions import Region, region_of_polygons
from transferkit.annotations._rle import region_of_runs, unpack_runs
from transferkit.images import size_of, upright_of_oriented
from transferkit.images.items import Item

__all__ = ["CocoEntry", "CocoReader"]

MAX_REGION_PIXELS = 2**30
"""Pixels of the rectangles around all objects of an image, which are held in memory together."""

Box = tuple[float, float, float, float]


class CocoEntry(NamedTuple):
    """One image of a file: its annotations are parsed when they are asked for.

    Parameters
    ----------
    source : str
        Name of the file.
    size : (int, int) or None
        Height and width as the file has them, px.
    image : Item or None
        The image, where the file doesn't tell its size.
    objects : str
        JSON list of its annotations.
    """

    source: str
    size: tuple[int, int] | None
    image: Item | None
    objects: str


@dataclass(frozen=True, eq=False)
class CocoReader:
    """Reads the objects of an image, and paints the class of every pixel.

    Parameters
    ----------
    numbers : mapping of str to mapping of str to int
        Class of each category id, by file.
    """

    numbers: Mapping[str, Mapping[str, int]]

    def __call__(self, entry: CocoEntry) -> Annotations:
        """Read the annotations of an image.

        ``boxes``, ``labels``, ``scores``, ``masks`` and ``oriented`` are those of its objects;
        masks and oriented boxes are None if not every object has one. Those that are a crowd
        (``iscrowd``) or ``difficult`` are ignored. ``map`` has larger objects beneath smaller
        ones, and is None if an object has no mask.

        Raises
        ------
        ValueError
            If an object can't be understood.
        """
        size = entry.size
        if size is None:
            size = size_of(entry.image) if entry.image is not None else (0, 0)
        _check_size(size)
        try:
            objects = json.loads(entry.objects)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{entry.source}: {error}") from error
        read, names, n_pixels = [], [], 0
        for one in objects:
            try:
                read.append(_object(one, size, self.numbers[entry.source]))
                n_pixels += 0 if (region := read[-1].region) is None else region.pixels.size
                _check_memory(n_pixels)
            except (ValueError, TypeError, OverflowError) as error:
                raise ValueError(
                    f"{entry.source}: annotation {one.get('id')!r}: {error}"
                ) from error
            names.append(f"{Path(entry.source).name}: annotation {one.get('id')!r}")
        return _annotations(read, size, names)


class _Object(NamedTuple):
    label: int
    region: Region | None
    box: Box | None
    rotated: list[float] | None
    corners: NDArray[np.float64] | None
    is_ignored: bool
    score: float | None


def _check_size(size: tuple[int, int]) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if min(size) < 1 or (limit is not None and size[0] * size[1] > 2 * limit):
        raise ValueError(f"the image is said to have {size[0]} × {size[1]} px; correct the file")


def _check_memory(n_pixels: int) -> None:
    if n_pixels > MAX_REGION_PIXELS:
        raise ValueError(
            f"the masks of its image take more than {MAX_REGION_PIXELS / 2**30:g} GiB; cut the "
            "image into tiles, or leave objects out"
        )


def _object(one: Mapping[str, Any], size: tuple[int, int], numbers: Mapping[str, int]) -> _Object:
    category = str(one["category_id"])
    if category not in numbers:
        raise ValueError(f"unknown class: category {category!r} isn't among those named")
    outline, score = one.get("segmentation"), one.get("score")
    polygons = _polygons(outline) if isinstance(outline, list) and outline else None
    read = _Object(
        numbers[category],
        _region(outline, polygons, size),
        _upright(one.get("bbox")),
        _rotated(one),
        _corners(polygons),
        any(bool(whole_number(one.get(key) or 0)) for key in ("iscrowd", "difficult")),
        None if score is None else float(score),
    )
    if read.box is None and read.region is None and read.rotated is None:
        raise ValueError("it has neither 'segmentation' nor 'bbox'")
    return read


# ---- boxes ------------------------------------------------------------------------------


def _upright(given: Any) -> Box | None:
    """Box as it is written, if it is an upright one."""
    if not given or len(given) == 5:
        return None
    left, top, width, height = map(float, given)
    if not all(map(math.isfinite, (left, top, width, height))):
        raise ValueError(f"bbox {given} isn't [left, top, width, height] in px")
    return left, top, left + width, top + height


def _rotated(one: Mapping[str, Any]) -> list[float] | None:
    """Centre, sides and angle as they are written."""
    given, box = one.get("rotated_box"), one.get("bbox")
    if not given and isinstance(box, list) and len(box) == 5:
        given = box
    if not given:
        return None
    if len(given) != 5:
        raise ValueError(f"oriented box {given} isn't [centre x, centre y, width, height, degrees]")
    return [float(number) for number in given]


def _corners(polygons: Sequence[NDArray[np.float64]] | None) -> NDArray[np.float64] | None:
    is_quad = polygons is not None and len(polygons) == 1 and len(polygons[0]) == 4
    return polygons[0] if polygons is not None and is_quad else None


# ---- pixels -----------------------------------------------------------------------------


def _polygons(given: list[Any]) -> list[NDArray[np.float64]]:
    return [_polygon(ring) for ring in (given if isinstance(given[0], list) else [given])]


def _polygon(ring: Any) -> NDArray[np.float64]:
    corners = np.array([float(n) for n in ring])
    if len(corners) < 6 or len(corners) % 2 or not np.isfinite(corners).all():
        raise ValueError(f"a polygon has {len(corners)} numbers; x and y of three corners or more")
    return corners.reshape(-1, 2)


def _region(
    given: Any, polygons: Sequence[NDArray[np.float64]] | None, size: tuple[int, int]
) -> Region | None:
    if not given:
        return None
    if isinstance(given, Mapping):
        runs = given.get("counts")
        if [whole_number(n) for n in given.get("size", ())] != list(size):
            raise ValueError(
                f"its run lengths are of {given.get('size')} px, and the image is {list(size)}"
            )
        counts = (
            unpack_runs(runs) if isinstance(runs, str) else [whole_number(n) for n in runs or ()]
        )
        return region_of_runs(counts, size)
    if polygons is None:
        raise ValueError("'segmentation' is neither polygons nor run lengths")
    # Four corners are an oriented box, which is left out with a remark if it is outside.
    for ring in polygons if _corners(polygons) is None else ():
        low, high = ring.min(0), ring.max(0)
        if (high <= 0).any() or low[0] >= size[1] or low[1] >= size[0]:
            raise ValueError(
                f"a polygon from ({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g}) is "
                f"outside of the image, which is {size[0]} × {size[1]} px"
            )
    return region_of_polygons(polygons, size)


# ---- all objects of an image ------------------------------------------------------------


def _annotations(
    objects: Sequence[_Object], size: tuple[int, int], names: Sequence[str]
) -> Annotations:
    oriented = None
    if all(one.rotated is not None or one.corners is not None for one in objects):
        oriented, boxes, is_kept, remarks = _oriented(objects, size, names)
    else:
        edges = np.array([_around(one) for one in objects], dtype=np.float64).reshape(-1, 4)
        boxes, is_kept, remarks = mended_boxes(edges, size, names)
    regions = [one.region for one in objects if one.region is not None]
    return Annotations(
        size,
        map=_painted(objects, size),
        boxes=boxes[is_kept],
        oriented=None if oriented is None else oriented[is_kept],
        remarks=tuple(remarks),
        **fields_of_objects(
            is_kept,
            [one.label for one in objects],
            [one.score for one in objects],
            [one.is_ignored for one in objects],
            Masks(size, regions) if len(regions) == len(objects) else None,
        ),
    )


def _around(one: _Object) -> Box | NDArray[np.float64]:
    """Upright box: as it is written, else that around the pixels or the oriented one."""
    if one.box is not None:
        return one.box
    if one.region is not None:
        return one.region.box
    assert one.rotated is not None  # `_object` has seen to it
    around: NDArray[np.float64] = upright_of_oriented([one.rotated])[0]
    return around


def _oriented(
    objects: Sequence[_Object], size: tuple[int, int], names: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], list[str]]:
    """Oriented and upright boxes, which of them to keep, and what was wrong."""
    boxes = np.array([one.rotated or [0.0] * 5 for one in objects]).reshape(-1, 5)
    told = [i for i, one in enumerate(objects) if one.rotated is None]
    corners = np.array([objects[i].corners for i in told]).reshape(-1, 4, 2)
    boxes[told], remarks = oriented_of_quads(corners, [names[i] for i in told])
    mended = mended_oriented(boxes, size, names)
    upright = mended.upright.copy()
    for i, one in enumerate(objects):
        if one.box is not None:
            cut = np.clip(one.box, 0, [size[1], size[0]] * 2)
            upright[i] = cut if (cut[:2] < cut[2:]).all() else upright[i]
    return mended.oriented, upright, mended.kept, [*remarks, *mended.remarks]


def _painted(objects: Sequence[_Object], size: tuple[int, int]) -> NDArray[np.int32] | None:
    """Class of every pixel, smaller objects over larger ones."""
    regions = [(one.region, one.label) for one in objects if one.region is not None]
    if len(regions) < len(objects):
        return None
    canvas = np.zeros(size, dtype=np.int32)
    for region, label in sorted(regions, key=lambda pair: -pair[0].area):
        region.paint(canvas, label)
    return canvas
