"""YOLO's text files: one per image, with a line for each object, in shares of the image's sides.

A line is ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 …``, the corners of a polygon, perhaps
with a score behind. Classes count from 0; their names stand in ``data.yaml`` or in a class table
(Redmon and Farhadi, "Darknet"; Ultralytics' layout of folders). Files don't tell whether four
corners are those of an oriented box or of a mask with few corners: they are both, if all lines of
the set have just four.
"""

from __future__ import annotations

import itertools
import logging
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
from transferkit.annotations._objects import (
    bounded_masks,
    label_names,
    named_classes,
    objects_of,
)
from transferkit.annotations._oriented import annotations_of_oriented, oriented_of_quads
from transferkit.annotations._places import files_of, has_files, near, written_name
from transferkit.annotations._regions import region_of_polygons
from transferkit.annotations._text import lines_of_text
from transferkit.annotations._yolo_lines import (
    is_label_file,
    parsed_file,
    parsed_line,
    written_line,
)
from transferkit.files import open_regular, write_whole
from transferkit.images import ImageSet, size_of
from transferkit.images.items import Item

__all__ = ["GIVES", "SUMMARY", "YoloReader", "accepts", "found", "read", "write"]

SUMMARY = "a folder of YOLO files (.txt)"
GIVES = frozenset(("boxes", "masks", "oriented"))

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
    is_oriented : bool, default=False
        Whether all lines of the set have four corners.
    """

    n_classes: int
    is_oriented: bool = False

    def __call__(self, item: tuple[Path | None, Item]) -> Annotations:
        """Read a file; None in its place stands for an image without objects.

        Boxes are read of every file; masks, if all of its lines are polygons that hold the
        centre of a pixel; and oriented boxes, if the set has such.

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
        height, width = size = size_of(image)
        lines, names = [], []
        for i, text in () if path is None else lines_of_text(path, "YOLO"):
            called = f"{path.name if path is not None else ''}: line {i}"
            line = parsed_line(text, called)
            if not 0 <= line.label < self.n_classes:
                raise ValueError(
                    f"{called} has class {line.label}, and there are {self.n_classes} (from 0 to "
                    f"{self.n_classes - 1}); name all of them"
                )
            lines.append(line)
            names.append(called)
        labels = [line.label + 1 for line in lines]
        polygons = [line.corners * (width, height) for line in lines if line.corners is not None]
        masks = None
        if len(polygons) == len(lines):
            regions = (region_of_polygons([polygon], size) for polygon in polygons)
            masks = bounded_masks(regions, size)
        told: dict[str, Any] = {"scores": [line.score for line in lines], "masks": masks}
        if self.is_oriented:
            corners = np.array(polygons, dtype=np.float64).reshape(-1, 4, 2)
            oriented, remarks = oriented_of_quads(corners, names)
            return annotations_of_oriented(size, oriented, labels, names, remarks=remarks, **told)
        boxes = [(line.box * (width, height, width, height)).tolist() for line in lines]
        return annotations_of_boxes(size, boxes, labels, names, **told)


def accepts(given: Path) -> bool:
    """Whether a path is a folder of ``.txt`` files whose lines are numbers."""
    if not has_files(given, ".txt"):
        return False
    texts = itertools.chain(sorted(given.glob("*.txt")), given.glob("*/*.txt"))
    first = list(itertools.islice(texts, _LOOKED_AT))
    # Images without objects have empty files.
    return any(map(is_label_file, first)) or not any(path.stat().st_size for path in first)


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
        parsed = (line for path in files if path is not None for line in parsed_file(path))
        largest = max((line.label for line in parsed), default=-1)
        names: Sequence[str] = [f"class {i}" for i in range(largest + 1)]
        names = ("background", *names)
    else:
        names = label_names(table, ())
    reader = YoloReader(len(named_classes(names)[0]), _are_oriented(files))
    return AnnotationSet(names, list(zip(files, images.items, strict=True)), reader, images.names)


def _are_oriented(files: Iterable[Path | None]) -> bool:
    """Whether all lines of some files have four corners. Of other sets a few files are read."""
    parsed = (parsed_file(path) for path in files if path is not None)
    return all(
        line.corners is not None and len(line.corners) == 4 for lines in parsed for line in lines
    )


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

    Objects are written with the four corners of their oriented boxes, where the annotations have
    such, else with the polygons of their masks, else with their boxes. The format can't tell
    which objects are ignored; they are left out, and a warning says so. Corners outside of the
    image are written as they are, which Ultralytics' own programs don't take.
    """
    path.mkdir(parents=True, exist_ok=True)
    labels, _ = named_classes(classes)
    content = yaml.safe_dump({"names": dict(enumerate(labels))}, allow_unicode=True)
    (path / "data.yaml").write_text(content, encoding="utf-8")
    n_ignored = 0
    for name, one in zip(names, annotations, strict=True):
        lines = []
        for i, thing in enumerate(objects_of(one, classes, name)):
            region = None if one.masks is None else one.masks.regions[i]
            n_ignored += thing.is_ignored
            if not thing.is_ignored:
                lines.append(written_line(thing, labels.index(thing.label), region, one.size))
        place = path / written_name(name, ".txt")
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, ["".join(f"{line}\n" for line in lines).encode()])
    if n_ignored:
        logger.warning(
            "%d ignored objects are left out: YOLO files can't tell that an object counts neither "
            "way; DOTA, VOC, COCO and CSV can",
            n_ignored,
        )
