"""CVAT's XML, "CVAT for images 1.1": one file for many images, with boxes, polygons and masks.

A ``box`` has the edges that it would have upright, and a ``rotation`` about its centre in
degrees, clockwise. A ``polygon`` with four corners is an oriented box too, if all polygons of the
file have four. A ``mask`` tells run lengths row by row within its box. Other shapes are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import tostring

from transferkit.annotations._annotations import Annotations, AnnotationSet
from transferkit.annotations._classes import ClassTable, is_background
from transferkit.annotations._cvat_shapes import SHAPES, CvatEntry, CvatReader
from transferkit.annotations._cvat_writing import written_cvat
from transferkit.annotations._matching import NothingFits, match, root_of
from transferkit.annotations._objects import class_numbers, label_names
from transferkit.annotations._xml import parts_of_xml
from transferkit.files import open_regular, write_whole
from transferkit.images import ImageSet

__all__ = ["GIVES", "SUMMARY", "accepts", "found", "read", "write"]

SUMMARY = "a file of CVAT for images 1.1 (.xml)"
GIVES = frozenset(("boxes", "masks", "oriented"))

MAX_XML_BYTES = 2**28
"""Largest file that is read."""
_NAMES = ("annotations.xml", "cvat.xml")


def accepts(given: Path) -> bool:
    """Whether a path is an ``.xml`` file of CVAT, or a folder with one called annotations.xml."""
    path = given if given.is_file() else _file_in(given)
    if path is None or path.suffix.lower() != ".xml":
        return False
    with open_regular(path) as file:
        return b"<annotations>" in file.read(1024)


def found(images: ImageSet) -> list[Path]:
    """File ``annotations.xml`` or ``cvat.xml`` in the images' folder or above."""
    root = root_of(images)
    if root is None:
        return []
    for place in (root, root.parent):
        path = _file_in(place)
        if path is not None and accepts(path):
            return [path]
    return []


def _file_in(folder: Path) -> Path | None:
    return next((path for name in _NAMES if (path := folder / name).is_file()), None)


# ---- a file's list of images ------------------------------------------------------------


@dataclass
class _Contents:
    """What stands in files, with the shapes still as text."""

    images: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    named: dict[str, None] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    has_turned: bool = False
    numbers_of_corners: set[int] = field(default_factory=set)

    @property
    def is_oriented(self) -> bool:
        """Whether a box has a rotation, or all polygons four corners; or there are no shapes."""
        return self.has_turned or self.numbers_of_corners == {4} or not self.used


def read(given: Sequence[Path], images: ImageSet, classes: ClassTable | None) -> AnnotationSet:
    """List the images of one or several files, found by their names.

    An image that no file names has no annotations; one that is named and has no shape has no
    object.
    """
    contents = _Contents()
    for place in given:
        _take(contents, place if place.is_file() else _file_in(place) or place)
    matched = match(images, list(contents.images), "entry")
    if not any(matched):
        shown = next(iter(contents.images), "none")
        raise NothingFits(
            f"no image is named in {', '.join(path.name for path in given)}: the images are such "
            f"as {images.names[0]!r}, and the file names such as {shown!r}"
        )
    names = label_names(classes, ())
    if classes is None:
        every = [*contents.named, *sorted(contents.used - contents.named.keys())]
        names = ("background", *(name for name in every if not is_background(name)))
    items = [
        None if name is None else CvatEntry(image, *contents.images[name])
        for name, image in zip(matched, images.items, strict=True)
    ]
    reader = CvatReader(class_numbers(names), contents.is_oriented)
    return AnnotationSet(names, items, reader, images.names)


def _take(contents: _Contents, path: Path) -> None:
    """Add what stands in a file."""
    for part in parts_of_xml(path, "annotations", "CVAT", MAX_XML_BYTES):
        if part.tag == "track":
            raise ValueError(
                f"{path.name} holds tracks of a video; export it as 'CVAT for images 1.1'"
            )
        if part.tag == "meta":
            labels = ((one.findtext("name") or "").strip() for one in part.iter("label"))
            contents.named |= dict.fromkeys(label for label in labels if label)
        if part.tag != "image":
            continue
        name = part.get("name", "").replace("\\", "/").removeprefix("./")
        if name in contents.images:
            raise ValueError(
                f"image {name!r} stands twice in {path.name} or another file; give each image once"
            )
        contents.images[name] = path.name, bytes(tostring(part, encoding="utf-8"))
        for one in part:
            if one.tag not in SHAPES:
                continue
            contents.used.add(one.get("label", "").strip())
            if one.tag == "box":
                contents.has_turned |= "rotation" in one.attrib
            else:
                contents.numbers_of_corners.add(len(one.get("points", "").split(";")))


def write(
    path: Path,
    names: Iterable[str],
    annotations: Iterable[Annotations],
    classes: Sequence[str],
    **options: Any,
) -> None:
    """Write a file: each object as a turned box, else as a mask, else as a box.

    It is what the annotations have of these. Ignored objects have a true attribute ``difficult``,
    and those of a prediction an attribute ``score``.
    """
    write_whole(path, written_cvat(zip(names, annotations, strict=True), classes))
