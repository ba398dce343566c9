"""What is written into a COCO file: the objects of images, one after the other."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.annotations._annotations import Annotations
from transferkit.annotations._classes import is_background
from transferkit.annotations._coco_file import coco_file, file_name
from transferkit.annotations._polygons import polygons_of_mask
from transferkit.annotations._regions import Region, region_of_mask
from transferkit.annotations._rle import pack_runs, runs_of_region
from transferkit.images import corners_of_oriented, upright_of_oriented

__all__ = ["dataset", "results"]

# Bytes of the list of images that are copied at a time.
_AT_A_TIME = 1 << 16


def dataset(
    pairs: Iterable[tuple[str, Annotations]], classes: Sequence[str], *, as_polygons: bool
) -> Iterator[bytes]:
    """Write images, annotations and categories, a part after the other.

    Parameters
    ----------
    pairs : iterable of (str, Annotations)
        Names of the images, and what is in each.
    classes : sequence of str
        Names of the classes, by number.
    as_polygons : bool
        Whether masks become polygons, where they have no holes.
    """
    categories = [
        {"id": i, "name": name} for i, name in enumerate(classes) if i or not is_background(name)
    ]
    yield b'{"categories": ' + _dumped(categories) + b', "annotations": ['
    numbers = itertools.count(1)
    # Images come last, so that annotations can be written as they come.
    with tempfile.TemporaryFile() as images:
        for i, (name, one) in enumerate(pairs, start=1):
            size = {"height": one.size[0], "width": one.size[1]}
            if i > 1:
                images.write(b",\n")
            images.write(_dumped({"id": i, "file_name": name.replace("\\", "/"), **size}))
            for written in _objects(one, classes, name, as_polygons=as_polygons):
                number = next(numbers)
                before = b"\n" if number == 1 else b",\n"
                yield before + _dumped({"id": number, "image_id": i, **written})
        yield b'\n], "images": [\n'
        images.seek(0)
        while part := images.read(_AT_A_TIME):
            yield part
    yield b"\n]}\n"


def results(
    pairs: Iterable[tuple[str, Annotations]],
    classes: Sequence[str],
    like: Path,
    *,
    as_polygons: bool,
) -> Iterator[bytes]:
    """Write a list of results, as COCO's own evaluation takes.

    Parameters
    ----------
    pairs, classes, as_polygons
        As in `dataset`.
    like : Path
        The COCO file that the images' and the categories' ids are taken from.
    """
    listed = coco_file(like, with_objects=False)
    by_class = {name: _number(key) for key, name in listed.categories.items()}
    ids = {file_name(image) or "": image["id"] for image in listed.images.values()}
    by_stem = {Path(name).stem: number for name, number in ids.items()}
    before = b"[\n"
    for name, one in pairs:
        number = ids.get(name, by_stem.get(Path(name).stem))
        if number is None:
            raise ValueError(
                f"{str(like)!r} lists no image {name!r}; give the file of these images"
            )
        for written in _objects(one, classes, name, as_polygons=as_polygons):
            label = classes[written["category_id"]]
            if label not in by_class:
                raise ValueError(f"{str(like)!r} has no category {label!r}; rename the class")
            result = {"image_id": number, **written, "category_id": by_class[label]}
            yield before + _dumped({**result, "score": written.get("score", 1.0)})
            before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def _number(key: str) -> int | str:
    return int(key) if key.lstrip("-").isdecimal() else key


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode("ascii")  # names of files needn't be Unicode


def _objects(
    one: Annotations, classes: Sequence[str], name: str, *, as_polygons: bool
) -> Iterator[dict[str, Any]]:
    """What is written of each object, or of each class that has pixels."""
    has_objects = one.masks is not None or one.boxes is not None or one.oriented is not None
    if one.labels is not None and has_objects:
        yield from _single_objects(one, as_polygons=as_polygons)
        return
    if one.map is None:
        raise ValueError(f"{name!r} has neither objects nor a class per pixel to be written")
    for label in np.unique(one.map).tolist():
        if label < 0 or (label == 0 and is_background(classes[0])):
            continue
        region = region_of_mask(one.map == label)
        yield {
            "category_id": label,
            "iscrowd": 0,
            **_pixels(region, one.size, as_polygons=as_polygons),
        }


def _single_objects(one: Annotations, *, as_polygons: bool) -> Iterator[dict[str, Any]]:
    oriented = one.oriented
    corners = None if oriented is None else corners_of_oriented(oriented)
    boxes = one.boxes
    if boxes is None and oriented is not None:
        boxes = upright_of_oriented(oriented)
    for i, label in enumerate(np.asarray(one.labels).tolist()):
        is_ignored = int(one.ignored is not None and bool(one.ignored[i]))
        written: dict[str, Any] = {"category_id": label, "iscrowd": is_ignored}
        if one.masks is not None:
            written |= _pixels(one.masks.regions[i], one.size, as_polygons=as_polygons)
        if oriented is not None and corners is not None:
            written["difficult"] = is_ignored
            written["rotated_box"] = oriented[i].tolist()
            written.setdefault("segmentation", [corners[i].ravel().tolist()])
            written.setdefault("area", float(oriented[i, 2] * oriented[i, 3]))
        if boxes is not None:
            left, top, right, bottom = np.asarray(boxes[i], dtype=float).tolist()
            written["bbox"] = [left, top, right - left, bottom - top]
            written.setdefault("area", (right - left) * (bottom - top))
        if one.scores is not None:
            written["score"] = float(one.scores[i])
        yield written


def _pixels(region: Region, size: tuple[int, int], *, as_polygons: bool) -> dict[str, Any]:
    left, top, right, bottom = region.box
    polygons = polygons_of_mask(region) if as_polygons else None
    outline: Any = [ring.ravel().tolist() for ring in polygons or ()]
    if not outline:
        runs = runs_of_region(region, size)
        outline = {"size": list(size), "counts": pack_runs(runs)}
    return {
        "segmentation": outline,
        "area": region.area,
        "bbox": [left, top, right - left, bottom - top],
    }
