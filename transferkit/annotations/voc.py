"""Pascal VOC's XML: one file per image, with each object's box, which may be an oriented one.

Everingham, Van Gool, Williams, Winn, Zisserman (2010), "The PASCAL visual object classes (VOC)
challenge". Edges are taken as they are written: a box has the width ``xmax - xmin``. Tools differ
in whether they count pixels from 0 or from 1, and files don't tell.

roLabelImg writes oriented boxes beside upright ones, as ``robndbox``: centre, sides, and the angle
from the x axis to the first side in radians, clockwise. If any file of a set has one, all boxes
of the set are oriented, the upright ones with an angle of 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from transferkit.annotations._annotations import Annotations, AnnotationSet
from transferkit.annotations._boxes import annotations_of_boxes
from transferkit.annotations._classes import ClassTable
from transferkit.annotations._matching import NothingFits
from transferkit.annotations._objects import (
    BoxedObject,
    class_numbers,
    label_names,
    number,
    objects_of,
    written_number,
)
from transferkit.annotations._oriented import annotations_of_oriented
from transferkit.annotations._places import files_of, has_files, near, written_name
from transferkit.annotations._xml import parts_of_xml
from transferkit.files import write_whole
from transferkit.images import ImageSet, size_of
from transferkit.images.items import Item

__all__ = ["GIVES", "SUMMARY", "VocReader", "accepts", "found", "read", "write"]

SUMMARY = "a folder of VOC files (.xml)"
GIVES = frozenset(("boxes", "oriented"))

MAX_XML_BYTES = 2**24
"""Largest file that is read."""
_FOLDERS = ("Annotations", "annotation", "xml", "xmls", "labels", "voc")


@dataclass(frozen=True, eq=False)
class VocReader:
    """Reads the objects of an image from its XML file.

    Parameters
    ----------
    numbers : mapping of str to int
        Class of each name.
    is_oriented : bool, default=False
        Whether the set has oriented boxes.
    """

    numbers: Mapping[str, int]
    is_oriented: bool = False

    def __call__(self, item: tuple[Path, Item]) -> Annotations:
        """Read a file. Objects that it calls difficult are ignored.

        Parameters
        ----------
        item : (Path, Item)
            The file and its image, of which the size is taken if the file doesn't tell it.

        Raises
        ------
        ValueError
            If it is no such file, or an object can't be understood.
        """
        path, image = item
        root = _parsed(path)
        size = _size(root) or size_of(image)
        boxes, labels, scores, ignored, names = [], [], [], [], []
        for i, one in enumerate(root.findall("object"), start=1):
            name = (one.findtext("name") or "").strip()
            called = f"{path.name}: object {i} ({name})"
            if name not in self.numbers:
                raise ValueError(f"{called} is of no class that was named")
            boxes.append(_oriented(one, called) if self.is_oriented else _edges(one, called))
            labels.append(self.numbers[name])
            score = one.findtext("score")
            scores.append(None if score is None else number(score, called))
            ignored.append((one.findtext("difficult") or "0").strip() not in ("0", ""))
            names.append(called)
        told: dict[str, Any] = {"scores": scores, "ignored": ignored}
        if self.is_oriented:
            turned = np.array(boxes, dtype=np.float64).reshape(-1, 5)
            return annotations_of_oriented(size, turned, labels, names, **told)
        return annotations_of_boxes(size, boxes, labels, names, **told)


def accepts(given: Path) -> bool:
    """Whether a path is a folder of ``.xml`` files."""
    return has_files(given, ".xml")


def found(images: ImageSet) -> list[Path]:
    """Folder ``Annotations`` or so in or beside that of the images, or the images' own."""
    return near(images, _FOLDERS, ".xml")


def read(given: Sequence[Path], images: ImageSet, classes: ClassTable | None) -> AnnotationSet:
    """List the files of images, found by their stems.

    An image without a file has no annotations; one whose file names no object has none.
    """
    files = files_of(given, images, ".xml")
    if not any(files):
        raise NothingFits(
            f"no image has a file in {', '.join(map(repr, map(str, given)))}: the images are such "
            f"as {images.names[0]!r}; give the folder that belongs to them"
        )
    told = [_told(path) for path in files if path is not None]
    names = label_names(classes, (name for labels, _ in told for name in labels))
    # Of an image without objects all boxes are oriented ones.
    is_oriented = any(turned for _, turned in told) or not any(labels for labels, _ in told)
    reader = VocReader(class_numbers(names), is_oriented)
    items = [
        None if path is None else (path, image)
        for path, image in zip(files, images.items, strict=True)
    ]
    return AnnotationSet(names, items, reader, images.names)


def _told(path: Path) -> tuple[set[str], bool]:
    """Classes that a file names, and whether it has oriented boxes.

    Of a file that can't be read that is told when it is asked for.
    """
    try:
        objects = _parsed(path).findall("object")
    except (ValueError, OSError):
        return set(), False
    names = {(one.findtext("name") or "").strip() for one in objects}
    return names, any(one.find("robndbox") is not None for one in objects)


def _parsed(path: Path) -> Element:
    """Outermost element of a file."""
    root = Element("annotation")
    for part in parts_of_xml(path, "annotation", "VOC", MAX_XML_BYTES):
        root.append(part)
    return root


def _size(root: Element) -> tuple[int, int] | None:
    """Height and width as the file tells them, if it does."""
    try:
        height, width = (int(float(root.findtext(f"size/{n}") or 0)) for n in ("height", "width"))
    except (ValueError, OverflowError):
        return None
    return (height, width) if min(height, width) > 0 else None


def _edges(one: Element, called: str) -> list[float]:
    """Left, top, right and bottom edge of an object."""
    return _numbers(one, "bndbox", ("xmin", "ymin", "xmax", "ymax"), called)


def _oriented(one: Element, called: str) -> list[float]:
    """Centre, sides and angle in degrees, counter-clockwise, of an object."""
    if one.find("robndbox") is None:
        left, top, right, bottom = _edges(one, called)
        return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top, 0.0]
    *box, turn = _numbers(one, "robndbox", ("cx", "cy", "w", "h", "angle"), called)
    return [*box, -math.degrees(turn)]


def _numbers(one: Element, box: str, parts: Sequence[str], called: str) -> list[float]:
    values = []
    for part in parts:
        text = one.findtext(f"{box}/{part}")
        if text is None:
            raise ValueError(f"{called} has no {part}; give {', '.join(parts)} in {box}")
        values.append(number(text, called))
    return values


# ---- writing ----------------------------------------------------------------------------


def write(
    path: Path,
    names: Iterable[str],
    annotations: Iterable[Annotations],
    classes: Sequence[str],
    **options: Any,
) -> None:
    """Write a file per image. Ignored objects are called difficult; masks can't be told.

    Oriented boxes are written as roLabelImg does, where the annotations have them.
    """
    for name, one in zip(names, annotations, strict=True):
        place = path / written_name(name, ".xml")
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, [_written(name, one, classes)])


def _written(name: str, one: Annotations, classes: Sequence[str]) -> bytes:
    root = Element("annotation")
    SubElement(root, "filename").text = name.replace("\\", "/").rsplit("/", 1)[-1]
    size = SubElement(root, "size")
    for what, value in (("width", one.size[1]), ("height", one.size[0]), ("depth", 3)):
        SubElement(size, what).text = str(value)
    for thing in objects_of(one, classes, name):
        element = SubElement(root, "object")
        if thing.oriented is not None:
            SubElement(element, "type").text = "robndbox"
        SubElement(element, "name").text = thing.label
        SubElement(element, "pose").text = "Unspecified"
        SubElement(element, "truncated").text = "0"
        SubElement(element, "difficult").text = str(int(thing.is_ignored))
        if thing.score is not None:
            SubElement(element, "score").text = repr(thing.score)
        _write_box(element, thing)
    indent(root)
    try:
        return bytes(tostring(root, encoding="utf-8")) + b"\n"
    except UnicodeEncodeError as error:
        raise ValueError(f"the name of {name!r} can't stand in XML; rename the file") from error


def _write_box(element: Element, thing: BoxedObject) -> None:
    if thing.oriented is None:
        kind, told = "bndbox", zip(("xmin", "ymin", "xmax", "ymax"), thing.box, strict=True)
    else:
        *box, angle = thing.oriented
        # roLabelImg's own angles are from 0 up to half a turn.
        values = (*box, math.radians(-angle % 180))
        kind, told = "robndbox", zip(("cx", "cy", "w", "h", "angle"), values, strict=True)
    place = SubElement(element, kind)
    for part, value in told:
        SubElement(place, part).text = written_number(value)
