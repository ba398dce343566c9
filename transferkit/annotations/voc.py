"""Pascal VOC's XML: one file per image, with the edges of each object's box.

Everingham, Van Gool, Williams, Winn, Zisserman (2010), "The PASCAL visual object classes (VOC)
challenge". Edges are taken as they are written: a box has the width ``xmax - xmin``. Tools differ
in whether they count pixels from 0 or from 1, and files don't tell.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, TreeBuilder, indent, tostring
from xml.parsers import expat

import numpy as np

from transferkit.annotations._annotations import Annotations, AnnotationSet
from transferkit.annotations._boxes import annotations_of_boxes
from transferkit.annotations._classes import ClassTable
from transferkit.annotations._matching import NothingFits
from transferkit.annotations._objects import class_numbers, label_names, number, objects_of
from transferkit.annotations._places import files_of, has_files, near, written_name
from transferkit.files import open_regular, write_whole
from transferkit.images import ImageSet, size_of
from transferkit.images.items import Item

__all__ = ["GIVES", "SUMMARY", "VocReader", "accepts", "found", "read", "write"]

SUMMARY = "a folder of VOC files (.xml)"
GIVES = frozenset(("boxes",))

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
    """

    numbers: Mapping[str, int]

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
            boxes.append([_edge(one, edge, called) for edge in ("xmin", "ymin", "xmax", "ymax")])
            labels.append(self.numbers[name])
            score = one.findtext("score")
            scores.append(None if score is None else number(score, called))
            ignored.append((one.findtext("difficult") or "0").strip() not in ("0", ""))
            names.append(called)
        return annotations_of_boxes(size, boxes, labels, names, scores=scores, ignored=ignored)


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
    names = label_names(classes, (name for path in files if path for name in _names(path)))
    items = [
        None if path is None else (path, image)
        for path, image in zip(files, images.items, strict=True)
    ]
    return AnnotationSet(names, items, VocReader(class_numbers(names)), images.names)


def _names(path: Path) -> list[str]:
    """Classes that a file names; none if it can't be read, which is told when it is asked for."""
    try:
        root = _parsed(path)
    except (ValueError, OSError):
        return []
    return [(one.findtext("name") or "").strip() for one in root.findall("object")]


def _parsed(path: Path) -> Element:
    """Outermost element of a file of bounded size, without any entities."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > MAX_XML_BYTES:
            raise ValueError(f"{path.name} is larger than {MAX_XML_BYTES // 2**20} MiB; is it VOC?")
        data = file.read(MAX_XML_BYTES)
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse(path.name)
    try:
        parser.Parse(data, True)
        root = builder.close()
    except (expat.ExpatError, AssertionError, LookupError, UnicodeError) as error:
        raise ValueError(f"{path.name} is no XML: {error}") from error
    if root.tag != "annotation":
        raise ValueError(f"{path.name} is no VOC file: it holds <{root.tag}>, not <annotation>")
    return root


def _refuse(name: str) -> Callable[..., None]:
    def refuse(*_: Any) -> None:
        # Entities that stand for one another can grow to any size, or name other files.
        raise ValueError(f"{name} declares a document type, which VOC files don't; remove it")

    return refuse


def _size(root: Element) -> tuple[int, int] | None:
    """Height and width as the file tells them, if it does."""
    try:
        height, width = (int(float(root.findtext(f"size/{n}") or 0)) for n in ("height", "width"))
    except (ValueError, OverflowError):
        return None
    return (height, width) if min(height, width) > 0 else None


def _edge(one: Element, edge: str, called: str) -> float:
    text = one.findtext(f"bndbox/{edge}")
    if text is None:
        raise ValueError(f"{called} has no {edge}; give xmin, ymin, xmax and ymax in bndbox")
    return number(text, called)


# ---- writing ----------------------------------------------------------------------------


def write(
    path: Path,
    names: Iterable[str],
    annotations: Iterable[Annotations],
    classes: Sequence[str],
    **options: Any,
) -> None:
    """Write a file per image. Ignored objects are called difficult; masks can't be told."""
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
        SubElement(element, "name").text = thing.label
        SubElement(element, "pose").text = "Unspecified"
        SubElement(element, "truncated").text = "0"
        SubElement(element, "difficult").text = str(int(thing.is_ignored))
        if thing.score is not None:
            SubElement(element, "score").text = repr(thing.score)
        box = SubElement(element, "bndbox")
        for edge, px in zip(("xmin", "ymin", "xmax", "ymax"), thing.box, strict=True):
            SubElement(box, edge).text = np.format_float_positional(px, trim="-")
    indent(root)
    try:
        return bytes(tostring(root, encoding="utf-8")) + b"\n"
    except UnicodeEncodeError as error:
        raise ValueError(f"the name of {name!r} can't stand in XML; rename the file") from error
