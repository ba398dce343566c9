"""A folder of instance masks, one per image: the number of the object that each pixel is of.

The masks are grey or index images of 8 or 16 bits, and 0 is no object. What class an object is of,
its score, and whether it is ignored, stands in ``instances.json`` beside them, which `write` makes;
without that file all objects are of one class.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.annotations._annotations import Annotations, AnnotationSet
from transferkit.annotations._boxes import fields_of_objects
from transferkit.annotations._classes import ClassTable, class_table, find_class_table
from transferkit.annotations._instance_numbers import numbers_of, regions_of_numbers
from transferkit.annotations._json import elements, read_text
from transferkit.annotations._masks import Masks
from transferkit.annotations._matching import NothingFits, match, root_of
from transferkit.annotations._objects import class_numbers, label_names
from transferkit.annotations._places import (
    OBJECT_LIST,
    image_files,
    is_instance_place,
    near,
    written_name,
)
from transferkit.files import write_whole
from transferkit.images import ImageError, ImageSet
from transferkit.images.layouts import INSTANCE_FOLDERS

__all__ = ["GIVES", "SUMMARY", "InstanceReader", "accepts", "found", "read", "write"]

GIVES = frozenset(("map", "boxes", "masks"))
SUMMARY = "a folder of instance masks (PNG or TIFF with one number per object)"

CODING = 1000
"""Numbers are the class's value times this and a count, where classes have values."""
# So many masks are looked at to see whether any has two objects.
_LOOKED_AT = 10

logger = logging.getLogger(__name__)


class InstanceEntry(NamedTuple):
    """The instance mask of an image.

    Parameters
    ----------
    file : str
        Its path below the folder.
    objects : str or None
        JSON list of its objects, if there is a list beside the masks.
    """

    file: str
    objects: str | None


class _Told(NamedTuple):
    """What is known of an object beside its pixels."""

    label: int
    score: float | None = None
    is_ignored: bool = False


@dataclass(frozen=True, eq=False)
class InstanceReader:
    """Reads the objects of an image from its instance mask.

    Parameters
    ----------
    root : Path
        Folder that the files' paths are relative to.
    names : tuple of str
        Names of the classes, by number.
    values : mapping of int to int, optional
        Class of each value, where numbers are made of the class's value and a count.
    """

    root: Path
    names: tuple[str, ...]
    values: Mapping[int, int] | None = None

    def __call__(self, entry: InstanceEntry) -> Annotations:
        """Read the objects: their masks, boxes and labels, in the order of their numbers.

        Raises
        ------
        ValueError
            If the mask can't be read, or holds a number that the list of objects lacks.
        """
        called = f"instance mask {str(self.root / entry.file)!r}"
        try:
            numbers = numbers_of(self.root / entry.file)
            regions = regions_of_numbers(numbers)
            told = self._told(entry, list(regions))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{called}: {error}") from error
        size = numbers.shape[0], numbers.shape[1]
        kept = [number for number in regions if number in told]
        masks = Masks(size, [regions[number] for number in kept])
        labels = [told[number].label for number in kept]
        classes = np.zeros(size, dtype=np.int32)
        for region, label in zip(masks.regions, labels, strict=True):
            region.paint(classes, label)
        fields = fields_of_objects(
            np.ones(len(kept), dtype=bool),
            labels,
            [told[number].score for number in kept],
            [told[number].is_ignored for number in kept],
            masks,
        )
        return Annotations(size, map=classes, boxes=masks.boxes, **fields)

    def _told(self, entry: InstanceEntry, numbers: Sequence[int]) -> dict[int, _Told]:
        """What is known of each number that stands for an object."""
        if entry.objects is not None:
            told = _listed(json.loads(entry.objects), class_numbers(self.names))
            if unknown := [number for number in numbers if number not in told]:
                shown = ", ".join(map(str, unknown[:5]))
                raise ValueError(f"its numbers {shown} aren't in {OBJECT_LIST}; add them there")
            return told
        if self.values is None:
            return {number: _Told(1) for number in numbers}
        # Below the first count, a number is all of a class that isn't told apart: a crowd.
        classes = {n: self.values.get(n if n < CODING else n // CODING) for n in numbers}
        return {
            number: _Told(label, None, number < CODING)
            for number, label in classes.items()
            if label is not None
        }


def _listed(objects: Any, labels: Mapping[str, int]) -> dict[int, _Told]:
    told: dict[int, _Told] = {}
    for one in objects:
        if not isinstance(one, Mapping):
            raise ValueError(
                f"an object of the list is {str(one)[:40]!r}; give its number and class"
            )
        name, score = str(one.get("class")), one.get("score")
        if name not in labels:
            raise ValueError(f"unknown class {name!r}; known are {', '.join(list(labels)[:5])}")
        number = one.get("number")
        if not isinstance(number, int) or number in told:
            raise ValueError(f"an object has the number {number!r}; give each one of its own")
        told[number] = _Told(
            labels[name], None if score is None else float(score), bool(one.get("ignored"))
        )
    return told


# ---- which masks ------------------------------------------------------------------------


def accepts(given: Path) -> bool:
    """Whether a path is a folder that is called so, such as ``instances``, or has the list."""
    return given.is_dir() and is_instance_place(given)


def found(images: ImageSet) -> list[Path]:
    """Folders of instance masks in the images' folder or beside it."""
    root = root_of(images)
    for suffix in (".png", ".tif", ".tiff"):
        # Images that are PNGs themselves stand in no such folder.
        if folders := [f for f in near(images, INSTANCE_FOLDERS, suffix) if f != root]:
            return folders
    return []


def read(given: Sequence[Path], images: ImageSet, classes: ClassTable | None) -> AnnotationSet:
    """List the instance masks of images.

    With a list of objects beside the masks, it says what is of which class. Else a class table
    with values tells that numbers are made of these, as Cityscapes makes them: 1000 times the
    value and a count, or the value alone for a crowd, which is ignored; numbers of other values
    are left out. Else all objects are of one class, which the table may name.
    """
    base, files = image_files(given, images)
    matched = match(images, files, "instance mask")
    if not any(file is not None for file in matched):
        held = f"such as {files[0]!r}" if files else "none"
        raise NothingFits(
            f"no instance mask in {', '.join(map(str, given[:3]))} belongs to an image: one is "
            f"called like its image, {images.names[0]!r}; masks there are {held}"
        )
    lists = [path / OBJECT_LIST for path in given if (path / OBJECT_LIST).is_file()]
    if lists:
        names, objects = _object_lists(lists, base, classes)
        items = [None if f is None else _listed_entry(f, objects) for f in matched]
        return AnnotationSet(names, items, InstanceReader(base, names), images.names)
    if classes is None:
        table = find_class_table(path for path in given if path.is_dir())
        classes = None if table is None else class_table(table)
    names, values = _single_class(classes)
    if values is None:
        _warn_of_class_masks(base, [file for file in matched if file is not None])
    entries = [None if file is None else InstanceEntry(file, None) for file in matched]
    return AnnotationSet(names, entries, InstanceReader(base, names, values), images.names)


def _listed_entry(file: str, objects: Mapping[str, str]) -> InstanceEntry:
    if file not in objects:
        raise ValueError(f"{OBJECT_LIST} lists no mask {file!r}; write both together")
    return InstanceEntry(file, objects[file])


def _object_lists(
    lists: Sequence[Path], base: Path, table: ClassTable | None
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Names of the classes, and the JSON of each mask's objects, by its path below a folder."""
    classes: dict[str, None] = {}
    objects: dict[str, str] = {}
    for path in lists:
        below = path.parent.relative_to(base).as_posix()
        try:
            for key, value, _ in elements(read_text(path)):
                if key == "classes":
                    classes[str(value)] = None
                elif key == "masks":
                    file = value["file"] if below == "." else f"{below}/{value['file']}"
                    objects[file] = json.dumps(value["objects"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{str(path)!r} is no list of instance masks: {error!r}") from error
    return (label_names(table, classes) if table else tuple(classes)), objects


def _single_class(table: ClassTable | None) -> tuple[tuple[str, ...], dict[int, int] | None]:
    """Names of the classes, and the class of each value if numbers are made of values."""
    names = label_names(table, ["object"])
    if table is None or (len(names) == 2 and not _has_coding(table)):
        return names, None
    if not table.has_values:
        raise ValueError(
            f"instance masks tell objects apart and not classes, and {len(names) - 1} classes are "
            f"named; name one, give the values that numbers are made of (classes={{'person': 24}} "
            f"for 24000, 24001, …), or write {OBJECT_LIST} beside the masks"
        )
    numbers = class_numbers(names)
    kept = [entry for entry in table.entries if entry.name in numbers and entry.value]
    return names, {entry.value: numbers[entry.name] for entry in kept if entry.value}


def _has_coding(table: ClassTable) -> bool:
    """Whether values are more than the places of a background and one class."""
    return any((entry.value or 0) > 1 for entry in table.entries)


def _warn_of_class_masks(base: Path, files: Sequence[str]) -> None:
    looked_at = files[:: max(1, len(files) // _LOOKED_AT)][:_LOOKED_AT]
    for file in looked_at:
        try:
            if len(np.unique(numbers_of(base / file))) > 2:
                return
        except ImageError:
            continue
    logger.warning(
        "none of %d masks in %s that were looked at has more than one object: masks of classes "
        "don't tell objects apart",
        len(looked_at),
        base,
    )


# ---- writing ----------------------------------------------------------------------------


def write(
    path: Path,
    names: Iterable[str],
    annotations: Iterable[Annotations],
    classes: Sequence[str],
    **options: Any,
) -> None:
    """Write a PNG per image into a folder, and ``instances.json`` beside them.

    A pixel is of one object: where several lie, the one with the highest score is on top, or the
    smallest one if there are no scores, and those that are ignored are beneath all. What is
    covered is lost, and a warning says how much it is; a COCO file keeps everything. Reading gives
    the masks that are left, each with the box around it.

    Raises
    ------
    ValueError
        If an image has no masks with labels, or more than 65,535 of them.
    """
    path.mkdir(parents=True, exist_ok=True)
    write_whole(path / OBJECT_LIST, _written(path, names, annotations, list(map(str, classes))))


def _written(
    path: Path, names: Iterable[str], annotations: Iterable[Annotations], classes: list[str]
) -> Iterator[bytes]:
    """Write the masks, and give the parts of the list of their objects."""
    yield b'{"classes": ' + json.dumps(classes).encode("ascii") + b', "masks": ['
    lost = np.zeros(3, dtype=np.int64)
    before = b"\n"
    for name, one in zip(names, annotations, strict=True):
        if one.masks is None or one.labels is None:
            raise ValueError(f"{name!r} has no masks of objects with labels to be written")
        file = written_name(name, ".png")
        numbers, areas = _numbered(one)
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        dtype = np.uint8 if len(areas) < 256 else np.uint16
        Image.fromarray(numbers.astype(dtype)).save(path / file, format="PNG")
        covered = one.masks.areas - areas
        lost += covered.sum(), (covered > 0).sum(), ((areas == 0) & (covered > 0)).sum()
        row = {"file": file, "objects": _object_rows(one, areas, classes, name)}
        yield before + json.dumps(row).encode("ascii")
        before = b",\n"
    yield b"\n]}\n"
    if lost[0]:
        logger.warning(
            "%d px of %d objects are covered by others and lost, %d objects entirely: an instance "
            "mask holds one object per pixel, and a COCO file holds them all",
            *lost.tolist(),
        )


def _numbered(one: Annotations) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number of each pixel's object, from 1 on, and the pixels that each object keeps."""
    assert one.masks is not None
    areas, n = one.masks.areas, len(one.masks)
    if n > 65_535:
        raise ValueError(f"{n:,} objects in an image; a mask of 16 bits tells 65,535 apart")
    is_beneath = np.zeros(n, dtype=bool) if one.ignored is None else one.ignored
    numbers = np.zeros(one.size, dtype=np.int32)
    for i in np.lexsort((-areas if one.scores is None else one.scores, ~is_beneath)).tolist():
        one.masks.regions[i].paint(numbers, i + 1)
    return numbers, np.bincount(numbers.ravel(), minlength=n + 1)[1:]


def _object_rows(
    one: Annotations, areas: NDArray[np.int64], classes: Sequence[str], name: str
) -> list[dict[str, Any]]:
    rows = []
    for i, label in enumerate(np.asarray(one.labels).tolist()):
        if not 0 <= label < len(classes):
            raise ValueError(f"{name!r} has an object of class {label}; {len(classes)} are named")
        row: dict[str, Any] = {"number": i + 1, "class": classes[label]}
        if one.scores is not None:
            row["score"] = float(one.scores[i])
        if one.ignored is not None and one.ignored[i]:
            row["ignored"] = True
        if areas[i]:
            rows.append(row)
    return rows
