"""YOLO's text files: one per image, with a line for each object, in shares of the image's sides.

A line is ``class cx cy w h``, perhaps with a score behind, or ``class x1 y1 x2 y2 x3 y3 …``, the
corners of a polygon, of which the box is taken. Classes count from 0; their names stand in
``data.yaml`` or in a class table (Redmon and Farhadi, "Darknet"; Ultralytics' layout of folders).
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from transferkit.annotations._annotations import Annotations, AnnotationSet
from transferkit.annotations._boxes import annotations_of_boxes
from transferkit.annotations._classes import ClassTable, class_table, find_class_table
from transferkit.annotations._matching import NothingFits
from transferkit.annotations._objects import label_names, named_classes, number, objects_of
from transferkit.annotations._places import files_of, has_files, near, written_name
from transferkit.files import open_regular, write_whole
from transferkit.images import ImageSet, size_of
from transferkit.images.items import Item

__all__ = ["GIVES", "SUMMARY", "YoloReader", "accepts", "found", "read", "write"]

SUMMARY = "a folder of YOLO files (.txt)"
GIVES = frozenset(("boxes",))

MAX_TEXT_BYTES = 2**24
"""Largest file of an image that is read."""
_FOLDERS = ("labels", "label", "annotations", "yolo")
_YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_LOOKED_AT = 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class YoloReader:
    """Reads the objects of an image from its text file.

    Parameters
    ----------
    n_classes : int
        Number of classes that objects can have; class 0 of a file is class 1 here.
    """

    n_classes: int

    def __call__(self, item: tuple[Path | None, Item]) -> Annotations:
        """Read a file; None in its place stands for an image without objects.

        Parameters
        ----------
        item : (Path or None, Item)
            The file and its image, whose size the shares are of.

        Raises
        ------
        ValueError
            If a line can't be understood.
        """
        path, image = item
        height, width = size_of(image)
        sides = np.array([width, height, width, height], dtype=float)
        boxes, labels, scores, names = [], [], [], []
        for i, line in enumerate(_lines(path) if path is not None else (), start=1):
            called = f"{path.name if path is not None else ''}: line {i}"
            label, shares, score = _parsed(line, called)
            if not 0 <= label < self.n_classes:
                raise ValueError(
                    f"{called} has class {label}, and there are {self.n_classes} (from 0 to "
                    f"{self.n_classes - 1}); name all of them"
                )
            boxes.append((shares * sides).tolist())
            labels.append(label + 1)
            scores.append(score)
            names.append(called)
        return annotations_of_boxes((height, width), boxes, labels, names, scores=scores)


def accepts(given: Path) -> bool:
    """Whether a path is a folder of ``.txt`` files whose lines are numbers."""
    if not has_files(given, ".txt"):
        return False
    texts = itertools.chain(sorted(given.glob("*.txt")), given.glob("*/*.txt"))
    first = list(itertools.islice(texts, _LOOKED_AT))
    # Images without objects have empty files.
    return any(map(_is_label_file, first)) or not any(path.stat().st_size for path in first)


def found(images: ImageSet) -> list[Path]:
    """Folder ``labels`` or so in or beside that of the images, or the images' own."""
    return [folder for folder in near(images, _FOLDERS, ".txt") if accepts(folder)]


def read(given: Sequence[Path], images: ImageSet, classes: ClassTable | None) -> AnnotationSet:
    """List the files of images, found by their stems; without a file an image has no objects."""
    files = files_of(given, images, ".txt")
    if not any(files):
        raise NothingFits(
            f"no image has a file in {', '.join(map(repr, map(str, given)))}: the images are such "
            f"as {images.names[0]!r}; give the folder that belongs to them"
        )
    table = classes or _names_near(given)
    if table is None:
        # Names that sort as their numbers do.
        largest = max((_largest(path) for path in files if path is not None), default=-1)
        names: Sequence[str] = [f"class {i}" for i in range(largest + 1)]
        names = ("background", *names)
    else:
        names = label_names(table, ())
    n_classes = len(named_classes(names)[0])
    items = list(zip(files, images.items, strict=True))
    return AnnotationSet(names, items, YoloReader(n_classes), images.names)


# ---- files ------------------------------------------------------------------------------


def _lines(path: Path) -> list[list[str]]:
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > MAX_TEXT_BYTES:
            raise ValueError(
                f"{path.name} is larger than {MAX_TEXT_BYTES // 2**20} MiB; is it YOLO?"
            )
        data = file.read(MAX_TEXT_BYTES)
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is no text: {error}") from error
    return [line.replace(",", " ").split() for line in lines if line.strip()]


def _parsed(line: Sequence[str], called: str) -> tuple[int, np.ndarray, float | None]:
    """Class, edges as shares of the sides, and score of a line."""
    values = [number(text, called) for text in line]
    n = len(values) - 1
    if not values or values[0] != int(values[0]):
        raise ValueError(f"{called}: {line[0] if line else ''!r} is no class; give a whole number")
    if n in (4, 5):
        x, y, width, height = values[1:5]
        edges = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        return int(values[0]), edges, values[5] if n == 5 else None
    if n < 6 or n % 2:
        raise ValueError(
            f"{called} has {n} numbers behind the class; give cx cy w h, perhaps with a score, or "
            "x and y of three corners or more"
        )
    corners = np.array(values[1:]).reshape(-1, 2)
    return int(values[0]), np.concatenate([corners.min(0), corners.max(0)]), None


def _is_label_file(path: Path) -> bool:
    """Whether the first line of a file is that of an object."""
    try:
        lines = _lines(path)
        return bool(lines) and bool(_parsed(lines[0], path.name))
    except (ValueError, OSError, IndexError):
        return False


def _largest(path: Path) -> int:
    """Largest class of a file; what can't be read is told when it is asked for."""
    try:
        return max((_parsed(line, path.name)[0] for line in _lines(path)), default=-1)
    except (ValueError, OSError):
        return -1


def _names_near(given: Sequence[Path]) -> ClassTable | None:
    """Names of the classes, of a file in one of the folders or in the two above them."""
    places = [folder for place in given for folder in (place, *list(place.parents)[:2])]
    for place in places:
        for name in _YAML:
            if (place / name).is_file():
                return _of_yaml(place / name)
        path = find_class_table([place])
        if path is None and (place / "obj.names").is_file():
            path = place / "obj.names"
        if path is not None:
            return class_table(path)
    return None


def _of_yaml(path: Path) -> ClassTable:
    with open_regular(path) as file:
        data = file.read(2**20)
    try:
        content = yaml.safe_load(data.decode("utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{str(path)!r} is no YAML: {error}") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(n, str | int | float) for n in names):
        raise ValueError(
            f"{str(path)!r} names no classes; write 'names:' with a list, or with a line "
            "'number: name' for each number from 0"
        )
    return class_table([str(name) for name in names])


# ---- writing ----------------------------------------------------------------------------


def write(
    path: Path,
    names: Iterable[str],
    annotations: Iterable[Annotations],
    classes: Sequence[str],
    **options: Any,
) -> None:
    """Write a file per image, and ``data.yaml`` with the names of the classes beside them.

    The format can't tell which objects are ignored; they are left out, and a warning says so.
    """
    path.mkdir(parents=True, exist_ok=True)
    labels, _ = named_classes(classes)
    content = yaml.safe_dump({"names": dict(enumerate(labels))}, allow_unicode=True)
    (path / "data.yaml").write_text(content, encoding="utf-8")
    n_ignored = 0
    for name, one in zip(names, annotations, strict=True):
        height, width = one.size
        lines = []
        for thing in objects_of(one, classes, name):
            if thing.is_ignored:
                n_ignored += 1
                continue
            left, top, right, bottom = thing.box
            shares = [(left + right) / 2 / width, (top + bottom) / 2 / height,
                      (right - left) / width, (bottom - top) / height]  # fmt: skip
            values = [labels.index(thing.label), *shares]
            if thing.score is not None:
                values.append(thing.score)
            lines.append(" ".join(_written(value) for value in values))
        place = path / written_name(name, ".txt")
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, ["".join(f"{line}\n" for line in lines).encode()])
    if n_ignored:
        logger.warning(
            "%d ignored objects are left out: YOLO files can't tell that an object counts neither "
            "way; VOC, COCO and CSV can",
            n_ignored,
        )


def _written(value: float) -> str:
    return np.format_float_positional(value, trim="-")
