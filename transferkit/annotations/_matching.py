"""Find the file that belongs to each image, by folders and stems."""

from __future__ import annotations

import functools
import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from transferkit.images import EXTENSIONS, ImageSet
from transferkit.images.items import file_of
from transferkit.images.layouts import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    is_image_folder,
    is_mask_folder,
    without,
)

__all__ = ["NothingFits", "folders_of", "match", "root_of"]

Folders = tuple[str, ...]


class NothingFits(ValueError):
    """No annotation belongs to any of the images: they may be of other images."""


def root_of(images: ImageSet) -> Path | None:
    """Folder that images' names are relative to, absolute; None if the first one is no file."""
    path = file_of(images.items[0]) if len(images) else None
    if path is None:
        return None
    path = path.absolute()
    name = PurePosixPath(images.names[0].replace("\\", "/").removeprefix("./"))
    is_below = not name.is_absolute() and path.parts[-len(name.parts) :] == name.parts
    return path.parents[len(name.parts) - 1] if is_below else path.parent


def folders_of(path: str) -> Folders:
    """Folders above a file, without those that only say that it is an image or a mask."""
    return _telling(path.rpartition("/")[0])


@functools.lru_cache(maxsize=4096)
def _telling(folder: str) -> Folders:
    names = folder.split("/")
    return tuple(n for n in names if n and not is_image_folder(n) and not is_mask_folder(n))


def match(images: ImageSet, files: Sequence[str], what: str = "mask") -> list[str | None]:
    """Find each image's file.

    A file belongs to the image of its stem, or of its stem without what usually stands behind
    it (``_mask``). Where several have one stem, the folders above them decide. If the files'
    folders are found again above any image, they have to be so for all; else the
    stem alone decides, and has to be unique.

    Parameters
    ----------
    images : ImageSet
        Files, or images whose names are like those of files.
    files : sequence of str
        Paths below their own folder, in POSIX form.
    what : str, default="mask"
        What messages call them.

    Returns
    -------
    list of str or None
        One of `files` per image; None for an image that has none.

    Raises
    ------
    ValueError
        If an image has several files, or several images have the same.
    """
    by_stem, here = _by_stem(files), str(Path.cwd())
    fitting = (_fitting(images, i, by_stem, here) for i in range(len(images)))
    is_placed = any(map(folders_of, files)) and any(
        folders for each in fitting for _, folders in each
    )
    matched: list[str | None] = []
    for i in range(len(images)):
        kept = _fitting(images, i, by_stem, here)
        if is_placed:
            kept = [(file, folders) for file, folders in kept if folders is not None]
        longest = max((len(folders or ()) for _, folders in kept), default=0)
        kept = [(file, folders) for file, folders in kept if len(folders or ()) == longest]
        if len(kept) > 1:
            shown = ", ".join(file for file, _ in kept[:5])
            raise ValueError(
                f"image {images.names[i]!r} has {len(kept)} {what}s ({shown}); leave one for "
                f"each, or give the folder that holds just those"
            )
        matched.append(kept[0][0] if kept else None)
    _refuse_rivals(images, matched, what)
    return matched


def _by_stem(files: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a function from an image's stem to its files."""
    exact: dict[str, list[str]] = {}
    stripped: dict[str, list[str]] = {}
    for file in files:
        stem = _stem(file)
        exact.setdefault(stem, []).append(file)
        if (shorter := without(stem, MASK_SUFFIXES)) is not None:
            stripped.setdefault(shorter, []).append(file)

    def of(stem: str) -> list[str]:
        bare = without(stem, IMAGE_SUFFIXES)
        for table, key in ((exact, stem), (stripped, stem), (exact, bare), (stripped, bare)):
            if key is not None and key in table:
                return table[key]
        return []

    return of


def _stem(path: str) -> str:
    """Name without the suffix that images have: a dot may be part of it."""
    name = path.rsplit("/", 1)[-1]
    if not name.isascii():  # systems differ in how they write accents
        name = unicodedata.normalize("NFC", name)
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in EXTENSIONS else name


def _fitting(
    images: ImageSet, i: int, by_stem: Callable[[str], list[str]], here: str
) -> list[tuple[str, Folders | None]]:
    """Files of an image's stem; with their folders if the image stands in such, else None."""
    name = images.names[i].replace("\\", "/")
    path = file_of(images.items[i])
    # Not `Path.absolute`, which takes as long as all the rest.
    whole = name if path is None else os.path.join(here, path).replace(os.sep, "/")  # noqa: PTH118
    above = folders_of(whole)
    fitting: list[tuple[str, Folders | None]] = []
    for file in by_stem(_stem(name)):
        folders = folders_of(file)
        is_there = above[len(above) - len(folders) :] == folders
        fitting.append((file, folders if is_there else None))
    return fitting


def _refuse_rivals(images: ImageSet, matched: list[str | None], what: str) -> None:
    """Raise where images share a file: the one's annotations would be taken as the other's."""
    owner: dict[str, int] = {}
    for i, file in enumerate(matched):
        if file is not None and (first := owner.setdefault(file, i)) != i:
            raise ValueError(
                f"{what} {file!r} fits {images.names[first]!r} and {images.names[i]!r}; put each "
                f"{what} into a folder like its image's, or list the images of one folder alone"
            )
