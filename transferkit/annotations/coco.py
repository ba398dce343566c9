"""COCO's JSON: objects as polygons or run lengths, upright or oriented boxes, with categories.

The format is that of Lin et al. (2014), "Microsoft COCO: common objects in context". Category
ids become the classes 1, 2, … in the order of the ids; 0 is the background. An oriented box is
a ``rotated_box`` of centre x and y, two sides and an angle in degrees, counter-clockwise; or a
``bbox`` of five such numbers, as Detectron2 has them; or a polygon of four corners.
"""

from __future__ import annotations

import itertools
import logging
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transferkit.annotations._annotations import Annotations, AnnotationSet
from transferkit.annotations._classes import ClassTable, is_background
from transferkit.annotations._coco_file import CocoFile, coco_file, file_name, whole_number
from transferkit.annotations._coco_objects import CocoEntry, CocoReader
from transferkit.annotations._coco_writing import dataset, results
from transferkit.annotations._matching import NothingFits, match, root_of
from transferkit.files import write_whole
from transferkit.images import ImageSet
from transferkit.images.items import Item
from transferkit.images.splits import split_of

__all__ = ["GIVES", "SUMMARY", "accepts", "found", "image_ids", "read", "write"]

GIVES = frozenset(("map", "boxes", "masks", "oriented"))
SUMMARY = "a COCO file (.json) or several"

_PATTERNS = (
    *("_annotations.coco.json", "annotations.json", "annotations.coco.json", "coco.json"),
    *("*.coco.json", "instances*.json", "result.json", "labels.json"),
    *("train.json", "val.json", "test.json"),
)
_FOLDERS = ("", "annotations", "Annotations")

logger = logging.getLogger(__name__)


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


def read(given: Sequence[Path], images: ImageSet, classes: ClassTable | None) -> AnnotationSet:
    """List the annotations of images in one or several files, found by ``file_name``.

    An image that no file names has no annotations; one that is named and has no objects is
    background everywhere.
    """
    files = [coco_file(path) for path in given]
    names, numbers = _classes(files, classes)
    # Files that stand in folders of their own name images of these folders.
    above = _above(given)
    named = [
        (f"{path.parent.relative_to(above).as_posix()}/{file_name(image)}", contents, key)
        for path, contents in zip(given, files, strict=True)
        for key, image in contents.images.items()
    ]
    entries: dict[str, tuple[CocoFile, str]] = {}
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


def _entry(contents: CocoFile, key: str, item: Item) -> CocoEntry:
    image = contents.images[key]
    try:
        size = (whole_number(image["height"]), whole_number(image["width"]))
    except (KeyError, TypeError, ValueError):
        size = None
    objects = f"[{','.join(contents.objects.get(key, ()))}]"
    return CocoEntry(contents.source, size, item if size is None else None, objects)


def _warn_of_orphans(files: Sequence[CocoFile]) -> None:
    for contents in files:
        n = sum(len(v) for key, v in contents.objects.items() if key not in contents.images)
        if n:
            logger.warning(
                "%s: %d annotations are of images that it doesn't list", contents.source, n
            )


def _classes(
    files: Sequence[CocoFile], table: ClassTable | None
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


# ---- writing ----------------------------------------------------------------------------


def image_ids(path: str | Path) -> dict[str, Any]:
    """Ids of the images that a COCO file lists, by their ``file_name``."""
    contents = coco_file(Path(path), with_objects=False)
    return {file_name(image) or "": image["id"] for image in contents.images.values()}


def write(
    path: Path,
    names: Iterable[str],
    annotations: Iterable[Annotations],
    classes: Sequence[str],
    *,
    like: str | Path | None = None,
    segmentation: str = "rle",
    **options: Any,
) -> None:
    """Write a COCO file: each object with its pixels and boxes, or one region for each class.

    Objects are written of ``masks``, ``oriented`` or ``boxes`` with ``labels``; without these a
    region per class of ``map``, except for a background at 0. Void pixels become background: the
    format can't tell them. An oriented box is written as ``rotated_box``, and as its four corners
    if the object has no mask. Objects that are ignored are ``iscrowd``, and ``difficult`` beside
    an oriented box. A score, where there is one, is that of the object.

    Parameters
    ----------
    path, names, annotations, classes
        As `AnnotationForm.write` has them.
    like : path, optional
        A COCO file of the same images. What is written is a list of results then, with its
        image and category ids, as COCO's own evaluation takes.
    segmentation : {"rle", "polygons"}, default="rle"
        How masks are written: as run lengths, or as polygons along the edges of the pixels, which
        give the same pixels again. An object with a hole is written as run lengths anyway:
        polygons can't tell it.
    **options
        Ignored.

    Raises
    ------
    ValueError
        If there is no such segmentation, there is nothing to write of an image, or `like` lacks
        an image or a class.
    """
    if segmentation not in ("rle", "polygons"):
        raise ValueError(f"segmentation={segmentation!r}; choose 'rle' or 'polygons'")
    pairs, as_polygons = zip(names, annotations, strict=True), segmentation == "polygons"
    if like is None:
        write_whole(path, dataset(pairs, classes, as_polygons=as_polygons))
    else:
        write_whole(path, results(pairs, classes, Path(like), as_polygons=as_polygons))
