"""Write annotations as the XML of CVAT for images 1.1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from transferkit.annotations._annotations import Annotations
from transferkit.annotations._objects import (
    BoxedObject,
    named_classes,
    objects_of,
    written_number,
)
from transferkit.annotations._regions import Region
from transferkit.annotations._rle import runs_of_mask

__all__ = ["written_cvat"]


def written_cvat(
    pairs: Iterable[tuple[str, Annotations]], classes: Sequence[str]
) -> Iterator[bytes]:
    """Parts of the file of the annotations of images, each of which comes with its name."""
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
