"""COCO's JSON: objects as polygons or run lengths, with boxes and categories.

The format is that of Lin et al. (2014), "Microsoft COCO: common objects in context". Category
ids become the classes 1, 2, … in the order of the ids; 0 is the background.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.annotations._annotations import Annotations, AnnotationSet
from transferkit.annotations._boxes import mended_boxes
from transferkit.annotations._classes import ClassTable, is_background
from transferkit.annotations._json import elements, read_text
from transferkit.annotations._masks import Masks
from transferkit.annotations._matching import NothingFits, match, root_of
from transferkit.annotations._regions import Region, region_of_mask, region_of_polygons
from transferkit.annotations._rle import mask_of_runs, pack_runs, runs_of_mask, unpack_runs
from transferkit.files import write_whole
from transferkit.images import ImageSet, size_of
from transferkit.images.items import Item
from transferkit.images.splits import split_of

__all__ = ["GIVES", "SUMMARY", "CocoReader", "accepts", "found", "image_ids", "read", "write"]

GIVES = frozenset(("map", "boxes"))
SUMMARY = "a COCO file (.json) or several"

_PATTERNS = (
    *("_annotations.coco.json", "annotations.json", "annotations.coco.json", "coco.json"),
    *("*.coco.json", "instances*.json", "result.json", "labels.json"),
    *("train.json", "val.json", "test.json"),
)
_FOLDERS = ("", "annotations", "Annotations")

logger = logging.getLogger(__name__)


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

        ``boxes``, ``labels``, ``scores`` and ``masks`` are those of its objects; a crowd
        (``iscrowd``) is one that is ignored. ``map`` has larger objects beneath smaller ones,
        and is None if an object is told by its box alone.

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
        read, names = [], []
        for one in objects:
            try:
                read.append(_object(one, size, self.numbers[entry.source]))
                names.append(f"{Path(entry.source).name}: annotation {one.get('id')!r}")
            except (ValueError, TypeError, OverflowError) as error:
                raise ValueError(
                    f"{entry.source}: annotation {one.get('id')!r}: {error}"
                ) from error
        return _annotations(read, size, names)


class _Object(NamedTuple):
    label: int
    box: tuple[float, float, float, float]
    region: Region | None
    is_crowd: bool
    score: float | None


def accepts(given: Path) -> bool:
    """Whether a path is a ``.json`` file, or a folder with nothing but such."""
    return given.suffix.lower() == ".json" and given.is_file()


def found(images: ImageSet) -> list[Path]:
    """COCO files under their usual names in the images' folder, below it or above."""
    root = root_of(images)
    if root is None:
        return []
    for place in (root, root.parent):
        for folder, pattern in itertools.product(_FOLDERS, _PATTERNS):
            if files := sorted((place / folder).glob(pattern)):
                return files
        if files := sorted(place.glob("*/_annotations.coco.json")):
            return files
    return []


# ---- a file's list of images ------------------------------------------------------------


@dataclass
class _Contents:
    """What stands in a file, with the annotations still as text."""

    source: str
    images: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)
    objects: dict[str, list[str]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)


def _contents(path: Path, *, with_objects: bool = True) -> _Contents:
    contents = _Contents(str(path))
    try:
        text = read_text(path)
        if text.lstrip()[:1] == "[":
            raise ValueError("it is a list of results, which names no images")
        for key, value, own in elements(text):
            contents.keys.add(key)
            if key in ("images", "annotations", "categories"):
                if not isinstance(value, dict):
                    raise ValueError(f"{key!r} holds {own[:40]}, and has to be a list of objects")
                _take(contents, key, value, own if with_objects else "")
    except ValueError as error:
        raise ValueError(f"{str(path)!r} can't be read as a COCO file: {error}") from error
    if "images" not in contents.keys or not contents.keys & {"annotations", "categories"}:
        raise ValueError(
            f"{str(path)!r} is no COCO file: 'images', 'annotations' and 'categories' are "
            f"looked for, and it has {', '.join(map(repr, sorted(contents.keys)[:10])) or 'none'}"
        )
    return contents


def _take(contents: _Contents, key: str, value: Mapping[str, Any], text: str) -> None:
    if key == "images":
        if _file_name(value) is None or "id" not in value:
            raise ValueError(f"the image {text[:80]} has no 'id' or no 'file_name'")
        if str(value["id"]) in contents.images:
            raise ValueError(f"two images have the id {value['id']!r}")
        contents.images[str(value["id"])] = value
    elif key == "categories":
        if "id" not in value:
            raise ValueError(f"the category {text[:80]} has no 'id'")
        contents.categories[str(value["id"])] = str(value.get("name", value["id"])).strip()
    else:
        if not {"image_id", "category_id"} <= value.keys():
            raise ValueError(f"the annotation {text[:80]} has no 'image_id' or no 'category_id'")
        contents.objects.setdefault(str(value["image_id"]), []).append(text)
        contents.used.add(str(value["category_id"]))


def _file_name(image: Mapping[str, Any]) -> str | None:
    name = next((image[key] for key in ("file_name", "filename") if image.get(key)), None)
    return None if name is None else str(name).replace("\\", "/")


def read(given: Sequence[Path], images: ImageSet, classes: ClassTable | None) -> AnnotationSet:
    """List the annotations of images in one or several files, found by ``file_name``.

    An image that no file names has no annotations; one that is named and has no objects is
    background everywhere.
    """
    files = [_contents(path) for path in given]
    names, numbers = _classes(files, classes)
    # Files that stand in folders of their own name images of these folders.
    above = _above(given)
    named = [
        (f"{path.parent.relative_to(above).as_posix()}/{_file_name(image)}", contents, key)
        for path, contents in zip(given, files, strict=True)
        for key, image in contents.images.items()
    ]
    entries: dict[str, tuple[_Contents, str]] = {}
    for written, contents, key in named:
        name = written.removeprefix("./")
        if name in entries:
            raise ValueError(
                f"image {name!r} stands twice, in {entries[name][0].source} and in "
                f"{contents.source}; give files that hold each image once"
            )
        entries[name] = (contents, key)
    items = [
        None if file is None else _entry(*entries[file], image)
        for file, image in zip(match(images, list(entries), "entry"), images.items, strict=True)
    ]
    if not any(item is not None for item in items):
        shown = named[0][0] if named else "none"
        raise NothingFits(
            f"no image is named in {', '.join(c.source for c in files)}: the images are such as "
            f"{images.names[0]!r}, and the files name such as {shown.removeprefix('./')!r}"
        )
    _warn_of_orphans(files)
    return AnnotationSet(names, items, CocoReader(numbers), images.names, _splits(items))


def _splits(items: Sequence[CocoEntry | None]) -> list[str | None] | None:
    """Split of each image by its file's name, as in ``instances_train2017.json``, if all tell."""
    sources = {item.source for item in items if item is not None}
    told = {source: _split_told(Path(source).stem) for source in sources}
    if None in told.values() or "train" not in told.values() or len(set(told.values())) < 2:
        return None
    return [None if item is None else told[item.source] for item in items]


def _split_told(stem: str) -> str | None:
    """Split that is one of the words in a file's name."""
    found = {split for word in re.split(r"[\W_]+", stem) if (split := split_of(word)) is not None}
    return found.pop() if len(found) == 1 else None


def _above(paths: Sequence[Path]) -> Path:
    """Folder that all of some files are in."""
    shared = set.intersection(*(set(path.parents) for path in paths))
    return max(shared, key=lambda folder: len(folder.parts))


def _entry(contents: _Contents, key: str, item: Item) -> CocoEntry:
    image = contents.images[key]
    try:
        size = (_whole(image["height"]), _whole(image["width"]))
    except (KeyError, TypeError, ValueError):
        size = None
    objects = f"[{','.join(contents.objects.get(key, ()))}]"
    return CocoEntry(contents.source, size, item if size is None else None, objects)


def _warn_of_orphans(files: Sequence[_Contents]) -> None:
    for contents in files:
        n = sum(len(v) for key, v in contents.objects.items() if key not in contents.images)
        if n:
            logger.warning(
                "%s: %d annotations are of images that it doesn't list", contents.source, n
            )


def _classes(
    files: Sequence[_Contents], table: ClassTable | None
) -> tuple[tuple[str, ...], dict[str, dict[str, int]]]:
    """Names of the classes, and the class of every category id in each file."""
    named = [
        contents.categories or {key: f"category {key}" for key in contents.used}
        for contents in files
    ]
    given = [each[key] for each in named for key in sorted(each, key=_by_number)]
    names = list(dict.fromkeys(given)) if table is None else list(table.names)
    background = next((i for i, name in enumerate(names) if is_background(name)), None)
    if background is None:
        names.insert(0, "background")
    elif table is None:
        names.insert(0, names.pop(background))
    numbers = {name: number for number, name in enumerate(names)}
    if given and not set(given) & set(names):
        raise ValueError(
            f"not one category of {str(files[0].source)!r} is among the classes: the categories "
            f"are {', '.join(map(repr, given[:5]))}, the classes "
            f"{', '.join(map(repr, names[:5]))}; give both the same names"
        )
    found = {
        contents.source: {key: numbers[name] for key, name in each.items() if name in numbers}
        for contents, each in zip(files, named, strict=True)
    }
    return tuple(names), found


def _by_number(key: str) -> tuple[float, str]:
    try:
        return float(key), key
    except ValueError:
        return math.inf, key


# ---- an image's objects -----------------------------------------------------------------


def _check_size(size: tuple[int, int]) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if min(size) < 1 or (limit is not None and size[0] * size[1] > 2 * limit):
        raise ValueError(f"the image is said to have {size[0]} × {size[1]} px; correct the file")


def _whole(value: Any) -> int:
    """Whole number, which may be written as a text or with a point."""
    number = float(value)
    if number != int(number):
        raise ValueError(f"{value!r} is no whole number")
    return int(number)


def _object(one: Mapping[str, Any], size: tuple[int, int], numbers: Mapping[str, int]) -> _Object:
    category = str(one["category_id"])
    if category not in numbers:
        raise ValueError(f"unknown class: category {category!r} isn't among those named")
    region = _region(one.get("segmentation"), size)
    box = _box(one.get("bbox"), region)
    score = one.get("score")
    return _Object(
        numbers[category],
        box,
        region,
        bool(_whole(one.get("iscrowd") or 0)),
        None if score is None else float(score),
    )


def _box(given: Any, region: Region | None) -> tuple[float, float, float, float]:
    if not given:
        if region is None:
            raise ValueError("it has neither 'segmentation' nor 'bbox'")
        return region.box
    left, top, width, height = map(float, given)
    if not all(map(math.isfinite, (left, top, width, height))):
        raise ValueError(f"bbox {given} isn't [left, top, width, height] in px")
    return left, top, left + width, top + height


def _region(given: Any, size: tuple[int, int]) -> Region | None:
    if not given:
        return None
    if isinstance(given, Mapping):
        runs = given.get("counts")
        if [_whole(n) for n in given.get("size", ())] != list(size):
            raise ValueError(
                f"its run lengths are of {given.get('size')} px, and the image is {list(size)}"
            )
        counts = unpack_runs(runs) if isinstance(runs, str) else [_whole(n) for n in runs or ()]
        return region_of_mask(mask_of_runs(counts, size))
    if not isinstance(given, list):
        raise ValueError("'segmentation' is neither polygons nor run lengths")
    rings = given if isinstance(given[0], list) else [given]
    polygons = [_polygon(ring) for ring in rings]
    for ring in polygons:
        low, high = ring.min(0), ring.max(0)
        if (high <= 0).any() or low[0] >= size[1] or low[1] >= size[0]:
            raise ValueError(
                f"a polygon from ({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g}) is "
                f"outside of the image, which is {size[0]} × {size[1]} px"
            )
    return region_of_polygons(polygons, size)


def _polygon(ring: Any) -> NDArray[np.float64]:
    corners = np.array([float(n) for n in ring])
    if len(corners) < 6 or len(corners) % 2 or not np.isfinite(corners).all():
        raise ValueError(f"a polygon has {len(corners)} numbers; x and y of three corners or more")
    return corners.reshape(-1, 2)


def _annotations(
    objects: Sequence[_Object], size: tuple[int, int], names: Sequence[str]
) -> Annotations:
    edges = np.array([one.box for one in objects], dtype=np.float64).reshape(-1, 4)
    boxes, is_kept, remarks = mended_boxes(edges, size, names)
    kept = [one for one, is_good in zip(objects, is_kept.tolist(), strict=True) if is_good]
    scores = [one.score for one in kept]
    regions = [one.region for one in kept if one.region is not None]
    crowds = np.array([one.is_crowd for one in kept], dtype=bool)
    return Annotations(
        size,
        map=_painted(objects, size),
        boxes=boxes[is_kept],
        masks=Masks(size, regions) if len(regions) == len(kept) else None,
        labels=np.array([one.label for one in kept], dtype=np.int64),
        scores=None if None in scores or not scores else np.array(scores, dtype=np.float64),
        ignored=crowds if crowds.any() else None,
        remarks=tuple(remarks),
    )


def _painted(objects: Sequence[_Object], size: tuple[int, int]) -> NDArray[np.int32] | None:
    """Class of every pixel, smaller objects over larger ones."""
    regions = [(one.region, one.label) for one in objects if one.region is not None]
    if len(regions) < len(objects):
        return None
    canvas = np.zeros(size, dtype=np.int32)
    for region, label in sorted(regions, key=lambda pair: -pair[0].area):
        region.paint(canvas, label)
    return canvas


# ---- writing ----------------------------------------------------------------------------


def image_ids(path: str | Path) -> dict[str, Any]:
    """Ids of the images that a COCO file lists, by their ``file_name``."""
    contents = _contents(Path(path), with_objects=False)
    return {_file_name(image) or "": image["id"] for image in contents.images.values()}


def write(
    path: Path,
    names: Iterable[str],
    annotations: Iterable[Annotations],
    classes: Sequence[str],
    *,
    like: str | Path | None = None,
    **options: Any,
) -> None:
    """Write a COCO file: each object with its run lengths, or one region for each class.

    Objects are written of ``masks`` or ``boxes`` with ``labels``; without these a region per
    class of ``map``, except for a background at 0. Void pixels become background: the format
    can't tell them. A score, where there is one, is that of the object.

    Parameters
    ----------
    path, names, annotations, classes
        As `AnnotationForm.write` has them.
    like : path, optional
        A COCO file of the same images. What is written is a list of results then, with its
        image and category ids, as COCO's own evaluation takes.
    **options
        Ignored.
    """
    pairs = zip(names, annotations, strict=True)
    if like is None:
        write_whole(path, _dataset(pairs, classes))
    else:
        write_whole(path, _results(pairs, classes, Path(like)))


def _dataset(pairs: Iterable[tuple[str, Annotations]], classes: Sequence[str]) -> Iterator[bytes]:
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
            for written in _objects(one, classes, name):
                number = next(numbers)
                before = b"\n" if number == 1 else b",\n"
                yield before + _dumped({"id": number, "image_id": i, **written})
        yield b'\n], "images": [\n'
        images.seek(0)
        while part := images.read(shutil.COPY_BUFSIZE):  # type: ignore[attr-defined]  # opened for bytes
            yield part
    yield b"\n]}\n"


def _results(
    pairs: Iterable[tuple[str, Annotations]], classes: Sequence[str], like: Path
) -> Iterator[bytes]:
    contents = _contents(like, with_objects=False)
    by_class = {name: _number(key) for key, name in contents.categories.items()}
    ids = {_file_name(image) or "": image["id"] for image in contents.images.values()}
    by_stem = {Path(name).stem: number for name, number in ids.items()}
    before = b"[\n"
    for name, one in pairs:
        number = ids.get(name, by_stem.get(Path(name).stem))
        if number is None:
            raise ValueError(
                f"{str(like)!r} lists no image {name!r}; give the file of these images"
            )
        for written in _objects(one, classes, name):
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


def _objects(one: Annotations, classes: Sequence[str], name: str) -> Iterator[dict[str, Any]]:
    """What is written of each object, or of each class that has pixels."""
    if one.labels is not None and (one.masks is not None or one.boxes is not None):
        yield from _single_objects(one)
        return
    if one.map is None:
        raise ValueError(f"{name!r} has neither objects nor a class per pixel to be written")
    for label in np.unique(one.map).tolist():
        if label < 0 or (label == 0 and is_background(classes[0])):
            continue
        yield {"category_id": label, "iscrowd": 0, **_told(one.map == label)}


def _single_objects(one: Annotations) -> Iterator[dict[str, Any]]:
    labels = np.asarray(one.labels).tolist()
    for i, label in enumerate(labels):
        is_crowd = one.ignored is not None and bool(one.ignored[i])
        written: dict[str, Any] = {"category_id": label, "iscrowd": int(is_crowd)}
        if one.masks is not None:
            written |= _told(one.masks[i])
        if one.boxes is not None:
            left, top, right, bottom = np.asarray(one.boxes[i], dtype=float).tolist()
            written["bbox"] = [left, top, right - left, bottom - top]
            written.setdefault("area", (right - left) * (bottom - top))
        if one.scores is not None:
            written["score"] = float(one.scores[i])
        yield written


def _told(mask: NDArray[np.bool_]) -> dict[str, Any]:
    left, top, right, bottom = region_of_mask(mask).box
    return {
        "segmentation": {"size": list(mask.shape), "counts": pack_runs(runs_of_mask(mask))},
        "area": int(mask.sum()),
        "bbox": [left, top, right - left, bottom - top],
    }
