"""`CocoFile`: the images, the categories and the annotations that a COCO file lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transferkit.annotations._json import elements, read_text

__all__ = ["CocoFile", "coco_file", "file_name", "whole_number"]


@dataclass
class CocoFile:
    """What stands in a COCO file, with the annotations still as text.

    Parameters
    ----------
    source : str
        Its path.
    images : dict
        What it says of each image, by id.
    categories : dict of str to str
        Name of each category, by id.
    objects : dict of str to list of str
        JSON of each annotation, by the image's id.
    used : set of str
        Ids of the categories that occur.
    keys : set of str
        Of the outermost object.
    """

    source: str
    images: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)
    objects: dict[str, list[str]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)


def coco_file(path: Path, *, with_objects: bool = True) -> CocoFile:
    """Read a COCO file.

    Parameters
    ----------
    path : Path
        The file.
    with_objects : bool, default=True
        Whether the annotations are kept.

    Raises
    ------
    ValueError
        If it is none.
    """
    contents = CocoFile(str(path))
    try:
        text = read_text(path)
        if text.lstrip()[:1] == "[":
            raise ValueError("it is a list of results, which names no images")
        for key, value, own in elements(text):
            contents.keys.add(key)
            if key in ("images", "annotations", "categories"):
                if not isinstance(value, dict):
                    raise ValueError(f"{key!r} holds {own[:40]}, and has to be a list of objects")
                _take(contents, key, value, own if with_objects else "")
    except ValueError as error:
        raise ValueError(f"{str(path)!r} can't be read as a COCO file: {error}") from error
    if "images" not in contents.keys or not contents.keys & {"annotations", "categories"}:
        raise ValueError(
            f"{str(path)!r} is no COCO file: 'images', 'annotations' and 'categories' are "
            f"looked for, and it has {', '.join(map(repr, sorted(contents.keys)[:10])) or 'none'}"
        )
    return contents


def _take(contents: CocoFile, key: str, value: Mapping[str, Any], text: str) -> None:
    if key == "images":
        if file_name(value) is None or "id" not in value:
            raise ValueError(f"the image {text[:80]} has no 'id' or no 'file_name'")
        if str(value["id"]) in contents.images:
            raise ValueError(f"two images have the id {value['id']!r}")
        contents.images[str(value["id"])] = value
    elif key == "categories":
        if "id" not in value:
            raise ValueError(f"the category {text[:80]} has no 'id'")
        contents.categories[str(value["id"])] = str(value.get("name", value["id"])).strip()
    else:
        if not {"image_id", "category_id"} <= value.keys():
            raise ValueError(f"the annotation {text[:80]} has no 'image_id' or no 'category_id'")
        contents.objects.setdefault(str(value["image_id"]), []).append(text)
        contents.used.add(str(value["category_id"]))


def file_name(image: Mapping[str, Any]) -> str | None:
    """Path of an image as a file has it, in POSIX form; None where there is none."""
    name = next((image[key] for key in ("file_name", "filename") if image.get(key)), None)
    return None if name is None else str(name).replace("\\", "/")


def whole_number(value: Any) -> int:
    """Whole number, which may be written as a text or with a point."""
    number = float(value)
    if number != int(number):
        raise ValueError(f"{value!r} is no whole number")
    return int(number)
