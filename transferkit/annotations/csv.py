"""Tables: a box per line, read and written; or pixels and scores of images, only written.

A table of boxes has the columns ``path, x1, y1, x2, y2, label``, in px of the image, and perhaps
``score`` and ``ignored``; other usual names are understood. A line without edges stands for an
image without objects. Of oriented boxes the columns are ``path, x, y, length, width, angle,
label``: centre and sides in px, and degrees from the x axis to the first side, counter-clockwise.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.annotations._annotations import Annotations, AnnotationSet
from transferkit.annotations._boxes import annotations_of_boxes
from transferkit.annotations._classes import ClassTable
from transferkit.annotations._matching import NothingFits, match
from transferkit.annotations._objects import (
    class_numbers,
    label_names,
    number,
    objects_of,
    written_number,
)
from transferkit.annotations._oriented import annotations_of_oriented
from transferkit.files import open_regular, write_whole
from transferkit.images import ImageSet, size_of
from transferkit.images.items import Item

__all__ = ["GIVES", "SUMMARY", "TableReader", "accepts", "found", "read", "write"]

SUMMARY = "a table of boxes (.csv: path, x1, y1, x2, y2, label)"
GIVES = frozenset(("boxes", "oriented"))

MAX_TABLE_BYTES = 2**31
"""Largest table that is read."""
EDGES = ("x1", "y1", "x2", "y2")
ORIENTED = ("x", "y", "length", "width", "angle")
COLUMNS = ("path", *EDGES, "label")
_NAMES = {
    **{name: (name,) for name in ORIENTED},
    "path": ("path", "image", "filename", "file_name", "file", "image_path", "image_id", "img"),
    "x1": ("x1", "xmin", "x_min", "left"),
    "y1": ("y1", "ymin", "y_min", "top"),
    "x2": ("x2", "xmax", "x_max", "right"),
    "y2": ("y2", "ymax", "y_max", "bottom"),
    "label": ("label", "class", "class_name", "name", "category", "label_name"),
    "score": ("score", "confidence", "conf"),
    "ignored": ("ignored", "ignore", "difficult", "iscrowd"),
}
_YES = frozenset(("1", "true", "yes"))


@dataclass(frozen=True, eq=False)
class TableReader:
    """Reads the objects of an image from its lines.

    Parameters
    ----------
    source : str
        Name of the file.
    numbers : mapping of str to int
        Class of each name.
    columns : tuple of str, default=EDGES
        Where the numbers of a box stand: `EDGES` or `ORIENTED`.
    """

    source: str
    numbers: Mapping[str, int]
    columns: tuple[str, ...] = EDGES

    def __call__(self, item: tuple[Sequence[tuple[int, Mapping[str, str]]], Item]) -> Annotations:
        """Read the lines of an image.

        Parameters
        ----------
        item : (sequence of (int, mapping of str to str), Item)
            Number and cells of each line, and the image.

        Raises
        ------
        ValueError
            If a line can't be understood.
        """
        lines, image = item
        boxes, labels, scores, ignored, names = [], [], [], [], []
        for at, cells in lines:
            called = f"{self.source}: line {at}"
            values = [cells[column].strip() for column in self.columns]
            if not any(values):
                continue
            label = cells["label"].strip()
            if label not in self.numbers:
                raise ValueError(f"{called} has class {label!r}, which is none of those named")
            boxes.append([number(value, called) for value in values])
            labels.append(self.numbers[label])
            score = cells.get("score", "").strip()
            scores.append(number(score, called) if score else None)
            ignored.append(cells.get("ignored", "").strip().casefold() in _YES)
            names.append(called)
        size = size_of(image)
        told: dict[str, Any] = {"scores": scores, "ignored": ignored}
        if self.columns == ORIENTED:
            oriented = np.array(boxes, dtype=np.float64).reshape(-1, 5)
            return annotations_of_oriented(size, oriented, labels, names, **told)
        return annotations_of_boxes(size, boxes, labels, names, **told)


def accepts(given: Path) -> bool:
    """Whether a path is a ``.csv`` file."""
    return given.suffix.lower() == ".csv" and given.is_file()


def found(images: ImageSet) -> list[Path]:
    """None: a table beside images may be of anything, so it has to be named."""
    return []


def read(given: Sequence[Path], images: ImageSet, classes: ClassTable | None) -> AnnotationSet:
    """List the lines of images in one or several tables, found by their paths."""
    lines: dict[str, list[tuple[int, Mapping[str, str]]]] = {}
    for path in given:
        for at, cells in _cells(path):
            lines.setdefault(cells["path"].strip().replace("\\", "/"), []).append((at, cells))
    tellings = {"angle" in cells for rows in lines.values() for _, cells in rows}
    if len(tellings) > 1:
        raise ValueError(
            f"some of {', '.join(path.name for path in given)} hold oriented boxes and others "
            "upright ones; give tables of one kind"
        )
    told = {name.removeprefix("./"): rows for name, rows in lines.items()}
    matched = match(images, list(told), "path")
    if not any(matched):
        shown = next(iter(told), "none")
        raise NothingFits(
            f"no image is named in {', '.join(path.name for path in given)}: the images are such "
            f"as {images.names[0]!r}, and the table names such as {shown!r}"
        )
    every = (cells["label"].strip() for rows in told.values() for _, cells in rows)
    names = label_names(classes, (label for label in every if label))
    items = [
        None if name is None else (told[name], image)
        for name, image in zip(matched, images.items, strict=True)
    ]
    columns = ORIENTED if True in tellings else EDGES
    reader = TableReader(given[0].name, class_numbers(names), columns)
    return AnnotationSet(names, items, reader, images.names)


def _cells(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Number and cells of each line of a table, by what the columns mean."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > MAX_TABLE_BYTES:
            raise ValueError(f"{path.name} is larger than {MAX_TABLE_BYTES / 2**30:.0f} GiB")
        try:
            rows = csv.reader(io.StringIO(file.read().decode("utf-8-sig"), newline=""))
            columns: list[str | None] | None = None
            for row in rows:
                if not any(cell.strip() for cell in row):
                    continue
                if columns is None:
                    columns = _columns(row, path.name)
                    if columns is not None:
                        continue
                    columns = [*COLUMNS, "score"]
                cells = dict.fromkeys((*COLUMNS, "score"), "")
                cells |= {n: v for n, v in zip(columns, row, strict=False) if n is not None}
                yield rows.line_num, cells
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path.name} is no table of text: {error}") from error


def _columns(row: Sequence[str], name: str) -> list[str | None] | None:
    """What the columns of a header mean; None if the line is no header."""
    meaning = {word: column for column, words in _NAMES.items() for word in words}
    found = [meaning.get(cell.strip().casefold()) for cell in row]
    of_boxes = ORIENTED if "angle" in found else EDGES
    missing = [column for column in ("path", *of_boxes, "label") if column not in found]
    if not missing:
        return [column if found.index(column) == i else None for i, column in enumerate(found)]
    if any(column in found for column in of_boxes) or len(row) < len(COLUMNS):
        raise ValueError(
            f"{name} has no column {', '.join(missing)}: {', '.join(row[:10])} are there; name "
            f"them path, {', '.join(of_boxes)}, label"
        )
    return None


def write(
    path: Path,
    names: Iterable[str],
    annotations: Iterable[Annotations],
    classes: Sequence[str],
    **options: Any,
) -> None:
    """Write a line per box; or per image and class; or per image if it has a score.

    Of boxes the columns are ``path, x1, y1, x2, y2, label, score, ignored``, with ``x, y, length,
    width, angle`` in place of the edges if they are oriented ones, and an image without objects
    has a line without numbers. With a score of the image they are ``image,score``. Else they are
    ``image,class,pixels,share``, with a line for every class; the share is that of the pixels
    whose class isn't void.
    """
    pairs = zip(names, annotations, strict=True)
    # What the objects are like is told by the first image that has any.
    begin = []
    for name, one in pairs:
        begin.append((name, one))
        if one.labels is None or len(one.labels):
            break
    told = begin[-1][1] if begin else Annotations((0, 0))
    every = itertools.chain(begin, pairs)
    if told.boxes is None and told.oriented is None:
        write_whole(path, _lines(every, classes))
    else:
        write_whole(path, _boxes(every, classes, is_oriented=told.oriented is not None))


def _boxes(
    pairs: Iterable[tuple[str, Annotations]], classes: Sequence[str], *, is_oriented: bool
) -> Iterator[bytes]:
    columns = ("path", *(ORIENTED if is_oriented else EDGES), "label", "score", "ignored")
    yield _line(*columns)
    for name, one in pairs:
        objects = list(objects_of(one, classes, name))
        for thing in objects:
            values = thing.oriented if is_oriented else thing.box
            if values is None:
                raise ValueError(f"{name!r} has upright boxes alone, unlike images before it")
            texts = [written_number(value) for value in values]
            score = "" if thing.score is None else repr(thing.score)
            yield _line(name, *texts, thing.label, score, int(thing.is_ignored))
        if not objects:
            yield _line(name, *[""] * (len(columns) - 1))


def _lines(pairs: Iterable[tuple[str, Annotations]], classes: Sequence[str]) -> Iterator[bytes]:
    is_scored: bool | None = None
    for name, one in pairs:
        if is_scored is None:
            is_scored = one.score is not None
            yield (
                _line("image", "score") if is_scored else _line("image", "class", "pixels", "share")
            )
        if is_scored != (one.score is not None):
            raise ValueError(f"{name!r} has {'no' if is_scored else 'a'} score, unlike the first")
        if is_scored:
            yield _line(name, f"{one.score:.6g}")
            continue
        if one.map is None:
            raise ValueError(f"{name!r} has no class per pixel and no score to be written")
        known = one.map[one.map >= 0]
        counts = np.bincount(known, minlength=len(classes))
        for label, n in zip(classes, counts.tolist(), strict=True):
            yield _line(name, label, n, f"{n / max(1, known.size):.6f}")


def _line(*values: Any) -> bytes:
    # With this end of a line both its characters are quoted, so a name may hold either.
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)
    return f"{text.getvalue().removesuffix(chr(13) + chr(10))}\n".encode("utf-8", "surrogateescape")
