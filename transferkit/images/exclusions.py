"""Lists of images to leave out, one name a line, as ``transferkit inspect`` writes them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from transferkit.files import open_regular, write_whole
from transferkit.images.imageset import ImageSet
from transferkit.images.paths import is_excluded

__all__ = [
    "LIST_SUFFIX",
    "excluded_names",
    "split_exclusions",
    "tell_excluded",
    "without_names",
    "without_patterns",
    "write_exclusions",
]

LIST_SUFFIX = ".txt"
"""Ending by which a list is told from a pattern: no image's name ends so."""
MAX_LIST_BYTES = 2**29
"""Largest list that is read."""
_SHOWN = 5

logger = logging.getLogger(__name__)


def split_exclusions(exclude: Sequence[str | Path]) -> tuple[list[str], list[Path]]:
    """Divide what a user excludes into patterns and lists of names.

    Raises
    ------
    FileNotFoundError
        If a list isn't there.

    Examples
    --------
    >>> split_exclusions(["*_augmented"])
    (['*_augmented'], [])
    """
    lists = [Path(one) for one in exclude if str(one).lower().endswith(LIST_SUFFIX)]
    for one in lists:
        if not one.is_file():
            raise FileNotFoundError(
                f"there is no list of images to exclude {str(one)!r}; a name that ends in "
                f"{LIST_SUFFIX} is a list, as `transferkit inspect --write-exclude` writes "
                "it, and any other a pattern of names"
            )
    return [str(one) for one in exclude if Path(one) not in lists], lists


def excluded_names(file: Path) -> list[str]:
    """Read the names of a list. Those that aren't UTF-8 keep their bytes.

    Raises
    ------
    ValueError
        If the file is too large for a list.
    """
    with open_regular(file) as opened:
        data = opened.read(MAX_LIST_BYTES + 1)
    if len(data) > MAX_LIST_BYTES:
        raise ValueError(
            f"{str(file)!r} is larger than {MAX_LIST_BYTES / 2**20:.0f} MiB; no list is"
        )
    lines = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").split(b"\n")
    return [os.fsdecode(line) for line in lines if line.strip()]


def without_names(images: ImageSet, files: Sequence[Path]) -> ImageSet:
    """Leave out the images whose names stand in lists.

    Parameters
    ----------
    images : ImageSet
        The images.
    files : sequence of Path
        Lists.

    Raises
    ------
    ValueError
        If a name is no image's, because the list is likely of other images; or if no image is
        left.
    """
    for file in files:
        names = set(excluded_names(file))
        unknown = sorted(names.difference(images.names))
        if unknown:
            shown = ", ".join(map(repr, unknown[:_SHOWN])) + ", …" * (len(unknown) > _SHOWN)
            raise ValueError(
                f"{len(unknown):,} of {len(names):,} names in {str(file)!r} are no images here "
                f"({shown}; an image here is {images.names[0]!r}); give the same images that the "
                "list was made for, or make it anew with `transferkit inspect --write-exclude`"
            )
        kept = [i for i, name in enumerate(images.names) if name not in names]
        if not kept:
            raise ValueError(f"no images are left without those in {str(file)!r}; exclude less")
        logger.warning(
            "%d of %d images were left out by %s", len(images) - len(kept), len(images), file
        )
        images = images.select(kept)
    return images


def write_exclusions(file: Path, names: Sequence[str]) -> None:
    """Write a list, whole or not at all.

    Raises
    ------
    ValueError
        If a name has a line break, so that a list of lines can't hold it; or the file's name
        isn't a list's.
    """
    if file.suffix.lower() != LIST_SUFFIX:
        raise ValueError(f"{str(file)!r} isn't a list's name; end it in {LIST_SUFFIX}")
    broken = [name for name in names if "\n" in name or "\r" in name]
    if broken:
        raise ValueError(
            f"the name {broken[0]!r} has a line break, which a list of lines can't hold; rename "
            "the file"
        )
    write_whole(file, [os.fsencode(name) + b"\n" for name in names])


def without_patterns(images: ImageSet, patterns: Sequence[str]) -> ImageSet:
    """Leave out the images whose names match a pattern.

    Raises
    ------
    ValueError
        If no image is left.
    """
    if not patterns:
        return images
    kept = [i for i, name in enumerate(images.names) if not is_excluded(name, patterns)]
    if not kept:
        raise ValueError(f"no images are left without {', '.join(patterns)}; exclude less")
    tell_excluded(len(images) - len(kept), "image", patterns)
    return images.select(kept)


def tell_excluded(n: int, what: str, patterns: Sequence[str]) -> None:
    """Tell the number of images that the user's patterns left out."""
    number = f"{n:,} times a {what}" if n > 1 else f"one {what}" if n else f"no {what}"
    logger.warning("%s was left out by %s", number, ", ".join(patterns))
