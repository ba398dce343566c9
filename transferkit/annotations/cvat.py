"""CVAT's XML, "CVAT for images 1.1": one file for many images, with boxes, polygons and masks.

A ``box`` has the edges that it would have upright, and a ``rotation`` about its centre in
degrees, clockwise. A ``polygon`` with four corners is an oriented box too, if all polygons of the
file have four. A ``mask`` tells run lengths row by row within its box. Other shapes are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, SubElement, fromstring, indent, tostring

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.annotations._annotations import Annotations, AnnotationSet
from transferkit.annotations._boxes import annotations_of_boxes
from transferkit.annotations._classes import ClassTable, is_background
from transferkit.annotations._masks import Masks
from transferkit.annotations._matching import NothingFits, match, root_of
from transferkit.annotations._objects import (
    BoxedObject,
    bounded_masks,
    class_numbers,
    label_names,
    named_classes,
    number,
    objects_of,
    written_number,
)
from transferkit.annotations._oriented import MAX_PX, annotations_of_oriented, oriented_of_quads
from transferkit.annotations._regions import Region, region_of_mask, region_of_polygons
from transferkit.annotations._rle import mask_of_runs, runs_of_mask
from transferkit.annotations._xml import parts_of_xml
from transferkit.files import open_regular, write_whole
from transferkit.images import ImageSet, size_of
from transferkit.images.items import Item
from transferkit.images.oriented import corners_of_oriented

__all__ = ["GIVES", "SUMMARY", "CvatEntry", "CvatReader", "accepts", "found", "read", "write"]

SUMMARY = "a file of CVAT for images 1.1 (.xml)"
GIVES = frozenset(("boxes", "masks", "oriented"))

MAX_XML_BYTES = 2**28
"""Largest file that is read."""
_NAMES = ("annotations.xml", "cvat.xml")
_READ = ("box", "polygon", "mask")
_LEFT_OUT = ("ellipse", "polyline", "points", "cuboid", "skeleton")
_IGNORED = frozenset(("difficult", "ignored", "ignore", "iscrowd"))
_SCORES = frozenset(("score", "confidence"))
_YES = frozenset(("1", "true", "yes"))


class CvatEntry(NamedTuple):
    """One image of a file: its shapes are parsed when they are asked for.

    Parameters
    ----------
    source : str
        Name of the file.
    image : Item
        The image, of which the size is taken if the file doesn't tell it.
    text : bytes
        Its XML.
    """

    source: str
    image: Item
    text: bytes


@dataclass(frozen=True, eq=False)
class CvatReader:
    """Reads the shapes of an image.

    Parameters
    ----------
    numbers : mapping of str to int
        Class of each name.
    is_oriented : bool, default=False
        Whether the file has oriented boxes.
    """

    numbers: Mapping[str, int]
    is_oriented: bool = False

    def __call__(self, entry: CvatEntry) -> Annotations:
        """Read an image. Shapes with a true attribute ``difficult`` or ``ignored`` are ignored.

        Boxes are read of every image; masks, if all of its shapes are polygons or masks that hold
        the centre of a pixel; and oriented boxes, if the file has such and the image no others.

        Raises
        ------
        ValueError
            If a shape can't be understood.
        """
        root = fromstring(entry.text)
        size = _size(root, entry)
        shapes, names = [], []
        for i, one in enumerate((one for one in root if one.tag in _READ), start=1):
            label = one.get("label", "").strip()
            called = f"{entry.source}: {one.tag} {i} ({label})"
            if label not in self.numbers:
                raise ValueError(f"{called} is of no class that was named")
            shapes.append(_shape(one, self.numbers[label], size, called))
            names.append(called)
        n_other = sum(one.tag in _LEFT_OUT for one in root)
        remarks = [f"{entry.source}: {n_other} of its shapes are left out: only boxes, polygons "
                   "and masks are read"] if n_other else []  # fmt: skip
        labels = [shape.label for shape in shapes]
        told: dict[str, Any] = {
            "scores": [shape.score for shape in shapes],
            "ignored": [shape.is_ignored for shape in shapes],
            "masks": _masks(shapes, size, names),
        }
        if self.is_oriented and all(shape.is_rectangle for shape in shapes):
            corners = np.array([shape.corners for shape in shapes]).reshape(-1, 4, 2)
            boxes, more = oriented_of_quads(corners, names)
            read = annotations_of_oriented(size, boxes, labels, names, remarks=more, **told)
        else:
            edges = [shape.edges for shape in shapes]
            read = annotations_of_boxes(size, edges, labels, names, **told)
        return replace(read, remarks=(*remarks, *read.remarks))


class _Shape(NamedTuple):
    label: int
    edges: list[float]
    corners: NDArray[np.float64]
    element: Element
    is_ignored: bool
    score: float | None

    @property
    def is_rectangle(self) -> bool:
        return self.element.tag != "mask" and len(self.corners) == 4


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
    items = []
    for name, image in zip(matched, images.items, strict=True):
        source, text = contents.images[name] if name is not None else ("", b"")
        items.append(None if name is None else CvatEntry(source, image, text))
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
            if one.tag not in _READ:
                continue
            contents.used.add(one.get("label", "").strip())
            if one.tag == "box":
                contents.has_turned |= "rotation" in one.attrib
            else:
                contents.numbers_of_corners.add(len(one.get("points", "").split(";")))


# ---- an image's shapes ------------------------------------------------------------------


def _size(root: Element, entry: CvatEntry) -> tuple[int, int]:
    """Height and width as the file tells them, else those of the image."""
    try:
        height, width = (int(root.get(side, "")) for side in ("height", "width"))
    except ValueError:
        return size_of(entry.image)
    limit = Image.MAX_IMAGE_PIXELS
    if min(height, width) < 1 or (limit is not None and height * width > 2 * limit):
        raise ValueError(f"{entry.source}: the image is said to have {height} × {width} px")
    return height, width


def _shape(one: Element, label: int, size: tuple[int, int], called: str) -> _Shape:
    attributes = {
        child.get("name", "").strip().casefold(): (child.text or "").strip()
        for child in one.iter("attribute")
    }
    corners, edges = _outline(one, size, called)
    score = next((value for key, value in attributes.items() if key in _SCORES and value), None)
    return _Shape(
        label,
        edges,
        corners,
        one,
        any(attributes.get(key, "").casefold() in _YES for key in _IGNORED),
        None if score is None else number(score, called),
    )


def _outline(
    one: Element, size: tuple[int, int], called: str
) -> tuple[NDArray[np.float64], list[float]]:
    """Corners of a shape, or of the box of a mask, and left, top, right and bottom edge."""
    if one.tag == "polygon":
        corners = _corners(one.get("points", ""), called)
        return corners, [*corners.min(0).tolist(), *corners.max(0).tolist()]
    turn = 0.0
    if one.tag == "box":
        edges = [_value(one, key, called) for key in ("xtl", "ytl", "xbr", "ybr")]
        turn = number(one.get("rotation", "0"), called)
    else:
        left, top, width, height = map(float, _place(one, size, called))
        edges = [left, top, left + width, top + height]
    left, top, right, bottom = edges
    box = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top, -turn]
    (corners,) = corners_of_oriented([box])
    if turn:
        edges = [*corners.min(0).tolist(), *corners.max(0).tolist()]
    return corners, edges


def _value(one: Element, key: str, called: str) -> float:
    text = one.get(key)
    if text is None:
        raise ValueError(f"{called} has no {key}")
    return number(text, called)


def _corners(text: str, called: str) -> NDArray[np.float64]:
    pairs = [point.split(",") for point in text.split(";")]
    if len(pairs) < 3 or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{called} has points {text[:40]!r}; give 'x,y;x,y;x,y' or more of them")
    corners = np.array([[number(value, called) for value in pair] for pair in pairs])
    if np.abs(corners).max() > MAX_PX:
        raise ValueError(f"{called} has points that aren't in px; give up to {MAX_PX:g}")
    return corners


def _place(one: Element, size: tuple[int, int], called: str) -> tuple[int, int, int, int]:
    """Left and upper edge of a mask's box, its width and height, px."""
    values = [_value(one, key, called) for key in ("left", "top", "width", "height")]
    left, top, width, height = map(int, values)
    is_inside = left + width <= size[1] and top + height <= size[0]
    if values != [left, top, width, height] or min(values) < 0 or not is_inside:
        raise ValueError(
            f"{called}: its box of {values[2]:g} × {values[3]:g} px at ({values[0]:g}, "
            f"{values[1]:g}) isn't one of pixels of the image, which has {size[0]} × {size[1]} px"
        )
    return left, top, width, height


def _masks(shapes: Sequence[_Shape], size: tuple[int, int], names: Sequence[str]) -> Masks | None:
    """Masks of shapes, if all are polygons or masks."""
    if any(shape.element.tag == "box" for shape in shapes):
        return None
    regions = (
        region_of_polygons([shape.corners], size)
        if shape.element.tag == "polygon"
        else _region(shape.element, size, called)
        for shape, called in zip(shapes, names, strict=True)
    )
    return bounded_masks(regions, size)


def _region(one: Element, size: tuple[int, int], called: str) -> Region:
    """Pixels of a mask, which is written row by row, beginning with those outside."""
    left, top, width, height = _place(one, size, called)
    try:
        runs = [int(run) for run in one.get("rle", "").split(",")]
        part = region_of_mask(mask_of_runs(runs, (width, height)).T)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{called}: {error}") from error
    return Region(part.top + top, part.left + left, part.pixels)


# ---- writing ----------------------------------------------------------------------------


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
    write_whole(path, _written(zip(names, annotations, strict=True), classes))


def _written(pairs: Iterable[tuple[str, Annotations]], classes: Sequence[str]) -> Iterator[bytes]:
    yield b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
    yield _text(_meta(named_classes(classes)[0]), "the classes")
    for i, (name, one) in enumerate(pairs):
        size = {"width": str(one.size[1]), "height": str(one.size[0])}
        root = Element("image", {"id": str(i), "name": name.replace("\\", "/"), **size})
        for k, thing in enumerate(objects_of(one, classes, name)):
            region = None if one.masks is None else one.masks.regions[k]
            _add_shape(root, thing, region)
        yield _text(root, repr(name))
    yield b"</annotations>\n"


def _text(root: Element, called: str) -> bytes:
    indent(root)
    try:
        return bytes(tostring(root, encoding="utf-8", xml_declaration=False)) + b"\n"
    except UnicodeEncodeError as error:
        raise ValueError(f"the name of {called} can't stand in XML; rename it") from error


def _meta(labels: Sequence[str]) -> Element:
    """Names of the classes, and the attributes that objects may have."""
    root = Element("meta")
    every = SubElement(SubElement(root, "task"), "labels")
    for label in labels:
        one = SubElement(every, "label")
        SubElement(one, "name").text = label
        attributes = SubElement(one, "attributes")
        for name, kind, default in (("difficult", "checkbox", "false"), ("score", "text", "")):
            attribute = SubElement(attributes, "attribute")
            parts = {"name": name, "mutable": "False", "input_type": kind,
                     "default_value": default, "values": default}  # fmt: skip
            for part, text in parts.items():
                SubElement(attribute, part).text = text
    return root


def _add_shape(root: Element, thing: BoxedObject, region: Region | None) -> None:
    shared = {"label": thing.label, "source": "manual", "occluded": "0", "z_order": "0"}
    if region is not None and thing.oriented is None:
        height, width = region.pixels.shape
        numbers = {"left": region.left, "top": region.top, "width": width, "height": height}
        runs = runs_of_mask(region.pixels.T).tolist()
        told = {key: str(value) for key, value in numbers.items()}
        one = SubElement(root, "mask", {**shared, **told, "rle": ", ".join(map(str, runs))})
    else:
        edges, turn = thing.box, None
        if thing.oriented is not None:
            x, y, length, width, angle = thing.oriented
            edges = x - length / 2, y - width / 2, x + length / 2, y + width / 2
            turn = -angle % 360
        pairs = zip(("xtl", "ytl", "xbr", "ybr"), edges, strict=True)
        told = {key: written_number(edge) for key, edge in pairs}
        if turn is not None:
            told["rotation"] = written_number(turn)
        one = SubElement(root, "box", {**shared, **told})
    SubElement(one, "attribute", {"name": "difficult"}).text = str(thing.is_ignored).lower()
    if thing.score is not None:
        SubElement(one, "attribute", {"name": "score"}).text = repr(thing.score)
