"""DOTA's text files: one per image, with the four corners of each object's oriented box.

A line is ``x1 y1 x2 y2 x3 y3 x4 y4 class difficult``, in px, perhaps with a score behind; the
lines ``imagesource:`` and ``gsd:`` above may be missing (Xia et al. 2018, "DOTA: a large-scale
dataset for object detection in aerial images"). Names of classes may hold blanks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transferkit.annotations._annotations import Annotations, AnnotationSet
from transferkit.annotations._classes import ClassTable
from transferkit.annotations._matching import NothingFits
from transferkit.annotations._objects import (
    class_numbers,
    label_names,
    number,
    objects_of,
    written_number,
)
from transferkit.annotations._oriented import annotations_of_oriented, oriented_of_quads
from transferkit.annotations._places import files_of, has_files, near, written_name
from transferkit.annotations._text import lines_of_text
from transferkit.files import write_whole
from transferkit.images import ImageSet, size_of
from transferkit.images.items import Item

__all__ = ["GIVES", "SUMMARY", "DotaReader", "accepts", "found", "read", "write"]

SUMMARY = "a folder of DOTA files (labelTxt, .txt)"
GIVES = frozenset(("boxes", "oriented"))

_FOLDERS = (
    *("labelTxt", "labelTxt-v1.0", "labelTxt-v1.5", "labelTxt-v2.0", "annfiles", "dota"),
    *("labels", "annotations"),
)
_HEADERS = ("imagesource:", "gsd:")
_LOOKED_AT = 20
_LARGEST_SHARE = 2.0
_DIFFICULT = {"0": False, "1": True, "2": True}


class DotaLine(NamedTuple):
    """One object of a file.

    Parameters
    ----------
    corners : list of float
        x and y of the four corners, px.
    label : str
        Name of its class.
    is_difficult : bool
        Whether it counts neither way.
    score : float or None
        Of a prediction.
    """

    corners: list[float]
    label: str
    is_difficult: bool
    score: float | None


@dataclass(frozen=True, eq=False)
class DotaReader:
    """Reads the objects of an image from its text file.

    Parameters
    ----------
    numbers : mapping of str to int
        Class of each name.
    """

    numbers: Mapping[str, int]

    def __call__(self, item: tuple[Path, Item]) -> Annotations:
        """Read a file. Objects that it calls difficult are ignored.

        Parameters
        ----------
        item : (Path, Item)
            The file and its image, whose size the file doesn't tell.

        Raises
        ------
        ValueError
            If a line can't be understood.
        """
        path, image = item
        lines, names = [], []
        for i, words in _lines(path):
            called = f"{path.name}: line {i}"
            line = _parsed(words, called)
            if line.label not in self.numbers:
                raise ValueError(f"{called} has class {line.label!r}, which is none of those named")
            lines.append(line)
            names.append(f"{called} ({line.label})")
        corners = np.array([line.corners for line in lines], dtype=np.float64).reshape(-1, 4, 2)
        boxes, remarks = oriented_of_quads(corners, names)
        return annotations_of_oriented(
            size_of(image),
            boxes,
            [self.numbers[line.label] for line in lines],
            names,
            scores=[line.score for line in lines],
            ignored=[line.is_difficult for line in lines],
            remarks=remarks,
        )


def accepts(given: Path) -> bool:
    """Whether a path is a folder of ``.txt`` files with lines of four corners and a class."""
    if not has_files(given, ".txt"):
        return False
    texts = itertools.chain(sorted(given.glob("*.txt")), given.glob("*/*.txt"))
    return any(map(_is_label_file, itertools.islice(texts, _LOOKED_AT)))


def found(images: ImageSet) -> list[Path]:
    """Folder ``labelTxt`` or so in or beside that of the images, or the images' own."""
    return [folder for folder in near(images, _FOLDERS, ".txt") if accepts(folder)]


def read(given: Sequence[Path], images: ImageSet, classes: ClassTable | None) -> AnnotationSet:
    """List the files of images, found by their stems.

    An image without a file has no annotations; one whose file names no object has none.
    """
    files = files_of(given, images, ".txt")
    if not any(files):
        raise NothingFits(
            f"no image has a file in {', '.join(map(repr, map(str, given)))}: the images are such "
            f"as {images.names[0]!r}; give the folder that belongs to them"
        )
    names = label_names(classes, (name for path in files if path for name in _names(path)))
    items = [
        None if path is None else (path, image)
        for path, image in zip(files, images.items, strict=True)
    ]
    return AnnotationSet(names, items, DotaReader(class_numbers(names)), images.names)


# ---- files ------------------------------------------------------------------------------


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and words of each line that tells of an object."""
    for i, line in lines_of_text(path, "DOTA"):
        if not line.casefold().startswith(_HEADERS):
            yield i, line.split()


def _parsed(words: Sequence[str], called: str) -> DotaLine:
    if len(words) < 9:
        raise ValueError(
            f"{called} has {len(words)} words; give x and y of four corners, the class and 0 or 1 "
            "for difficult"
        )
    corners = [number(word, called) for word in words[:8]]
    rest, score = list(words[8:]), None
    # A score has a point, so that a name may end in a whole number.
    if (
        len(rest) > 2
        and rest[-2] in _DIFFICULT
        and not rest[-1].isdecimal()
        and _is_number(rest[-1])
    ):
        score = number(rest.pop(), called)
    is_difficult = _DIFFICULT[rest.pop()] if len(rest) > 1 and rest[-1] in _DIFFICULT else False
    return DotaLine(corners, " ".join(rest), is_difficult, score)


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _is_label_file(path: Path) -> bool:
    """Whether the first line of a file is that of an object, and not one of YOLO's."""
    try:
        _, words = next(_lines(path))
        line = _parsed(words, path.name)
    except (ValueError, OSError, StopIteration):
        return False
    # Where a class is called by a number, corners in px are told from shares of the sides.
    return not all(map(_is_number, line.label.split())) or max(line.corners[1:]) > _LARGEST_SHARE


def _names(path: Path) -> list[str]:
    """Classes that a file names; none if it can't be read, which is told when it is asked for."""
    try:
        return [_parsed(words, path.name).label for _, words in _lines(path)]
    except (ValueError, OSError):
        return []


# ---- writing ----------------------------------------------------------------------------


def write(
    path: Path,
    names: Iterable[str],
    annotations: Iterable[Annotations],
    classes: Sequence[str],
    **options: Any,
) -> None:
    """Write a file per image, without the two lines above, which some programs can't read.

    Ignored objects are called difficult. An object without an oriented box is written with the
    corners of its upright one.
    """
    for name, one in zip(names, annotations, strict=True):
        lines = []
        for thing in objects_of(one, classes, name):
            if thing.label != " ".join(thing.label.split()) or not thing.label:
                raise ValueError(
                    f"the class {thing.label!r} can't be written to DOTA files: give it a name "
                    "with single blanks between its words"
                )
            values = [written_number(v) for v in thing.corners.ravel()]
            words = [*values, thing.label, str(int(thing.is_ignored))]
            if thing.score is not None:
                words.append(repr(thing.score))
            lines.append(" ".join(words))
        place = path / written_name(name, ".txt")
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, ["".join(f"{line}\n" for line in lines).encode()])
