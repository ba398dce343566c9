"""Splits from lists of images' names, as Pascal VOC has them: ``train.txt``, ``val.txt`` …."""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transferkit.files import open_regular
from transferkit.images.imageset import ImageSet
from transferkit.images.layouts import is_image_folder
from transferkit.images.sources.folder import EXTENSIONS
from transferkit.images.splits import USUAL_NAMES, split_of

__all__ = ["find_split_lists", "with_split_lists"]

MAX_LIST_BYTES = 2**29
"""Largest list that is read."""

_FOLDERS = ("", "ImageSets/Segmentation", "ImageSets/Main", "ImageSets", "splits")
_SHOWN = 5

logger = logging.getLogger(__name__)

SplitLists = str | Path | Mapping[str, Any]
"""A folder of lists, or the list of each split: names, or the file that holds them."""


def find_split_lists(root: Path) -> Path | None:
    """Find the folder of the lists for a folder of images; None if there is none.

    Parameters
    ----------
    root : Path
        Folder of images. What stands beside it counts if its name only says that images are
        in it. A list for training and another one have to be there.
    """
    places = [root, root.parent] if is_image_folder(root.name) else [root]
    for place in places:
        for inner in _FOLDERS:
            lists = _lists_in(place / inner)
            if "train" in lists and len(lists) > 1:
                return place / inner
    return None


def with_split_lists(images: ImageSet, lists: SplitLists, *, is_found: bool = False) -> ImageSet:
    """Return the images with the splits that lists give them.

    A line is an image's path as it is listed, or the end of it, with or without its suffix;
    what stands behind a blank is left out if the whole line is no image. Images that are in no
    list are in no split.

    Parameters
    ----------
    images : ImageSet
        The images; the splits that they have are replaced.
    lists : path or mapping
        A folder that holds ``train.txt``, ``val.txt``, ``test.txt``, one of them at least
        (``trainval.txt`` counts where there is no ``train.txt``), or from a split's name to
        a file or a sequence of names.
    is_found : bool, default=False
        Whether nobody asked for these lists: that they fit no image is no error then.

    Raises
    ------
    ValueError
        If there are no lists, an image is in two of them, a line means several images, or no
        line means any.
    """
    given = lists if isinstance(lists, Mapping) else _lists_in(Path(lists).expanduser())
    if not given:
        raise ValueError(
            f"no split lists in {str(lists)!r}; give a folder that holds train.txt, val.txt or "
            "test.txt, with the name of an image in each line"
        )
    by_name = _names(images)
    splits: list[str | None] = [None] * len(images)
    strangers: list[str] = []
    for name, lines in given.items():
        split = split_of(str(name))
        if split is None:
            raise ValueError(f"split {name!r} is unknown; name the lists {USUAL_NAMES}")
        for line in _lines(lines):
            at = _image_of(line, by_name)
            if at is None:
                strangers.append(line)
            elif splits[at] not in (None, split):
                raise ValueError(
                    f"image {images.names[at]!r} is in the list of {splits[at]} and in that of "
                    f"{split}; take it out of one of them"
                )
            else:
                splits[at] = split
    if strangers:
        _tell_strangers(strangers, any(splits), images, is_found)
    return replace(images, splits=tuple(splits)) if any(splits) else images


def _tell_strangers(
    strangers: Sequence[str], are_some_known: bool, images: ImageSet, is_found: bool
) -> None:
    shown = ", ".join(map(repr, strangers[:_SHOWN]))
    if not are_some_known and not is_found:
        raise ValueError(
            f"none of the split lists' names is an image: they name {shown}, and the images are "
            f"such as {images.names[0]!r}"
        )
    logger.warning("split lists name %d images that aren't there: %s", len(strangers), shown)


def _lists_in(folder: Path) -> dict[str, Path]:
    """Lists of a folder, by split."""
    found: dict[str, Path] = {}
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".txt")
    except OSError:
        return {}
    for path in paths:
        stem = re.sub("[_-]?(list|files|names|ids)$", "", path.stem.casefold())
        split = split_of(stem)
        if split is None or (stem == "trainval" and "train" in found):
            continue
        if split in found and found[split].stem.casefold() != "trainval":
            raise ValueError(
                f"{str(folder)!r} holds two lists of one split, {found[split].name} and "
                f"{path.name}; give a mapping from each split to its list"
            )
        found[split] = path
    return found


def _lines(lines: str | Path | Iterable[str]) -> Iterable[str]:
    if not isinstance(lines, str | os.PathLike):
        return [str(line).strip() for line in lines]
    with open_regular(lines) as file:
        data = file.read(MAX_LIST_BYTES + 1)
    if len(data) > MAX_LIST_BYTES:
        raise ValueError(
            f"split list {str(lines)!r} is larger than {MAX_LIST_BYTES / 2**20:.0f} MiB; give "
            "one image's name a line"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"split list {str(lines)!r} is no text: {error}") from error
    return [line for one in text.splitlines() if (line := one.strip())]


_SEVERAL = -1


def _names(images: ImageSet) -> dict[str, int]:
    """Position of an image by its path without suffix, and by its stem if that is its alone."""
    by_name: dict[str, int] = {}
    for i, name in enumerate(images.names):
        path = _plain(name)
        stem = path.rsplit("/", 1)[-1]
        if stem != path:
            by_name[stem] = _SEVERAL if stem in by_name else i
    for i, name in enumerate(images.names):  # whole paths go before stems
        by_name[_plain(name)] = i
    return by_name


def _plain(name: str) -> str:
    """Path in POSIX form, without the suffix that images have."""
    path = unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")
    stem, dot, suffix = path.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in EXTENSIONS else path


def _image_of(line: str, by_name: Mapping[str, int]) -> int | None:
    """Position of the image that a line means; None if it means none."""
    for text in dict.fromkeys((line, line.split()[0])):
        path = _plain(text).lstrip("/")
        parts = path.split("/")
        for begin in range(len(parts)):
            at = by_name.get("/".join(parts[begin:]))
            if at == _SEVERAL:
                raise ValueError(
                    f"{line!r} in a split list means several images; write their paths"
                )
            if at is not None:
                return at
    return None
