"""A folder of images: a folder per class, below folders of splits if there are any."""

import logging
import os
from collections import Counter
from pathlib import Path

from transferkit.images.imageset import ImageSet
from transferkit.images.splits import SPLIT_OF

__all__ = ["EXTENSIONS", "list_folder"]

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif"),
    *(".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"),
)
"""Extensions of the files that a folder's listing takes, in any case."""

# What file managers leave behind.
_NO_FILES = ("thumbs.db", "desktop.ini")

logger = logging.getLogger(__name__)


def list_folder(root: Path) -> ImageSet:
    """List the images of a folder, sorted bytewise by their path below it."""
    found, others = _walk(root)
    if others:
        kinds = ", ".join(f"{kind or 'no suffix'} {n:,}" for kind, n in others.most_common(5))
        logger.warning(
            "%s files below %s are no images by their names and were left out (%s)",
            f"{others.total():,}",
            root,
            kinds,
        )
    names = sorted(found, key=os.fsencode)
    if not names:
        raise ValueError(
            f"no images in {str(root)!r} or below; files that end in "
            f"{', '.join(EXTENSIONS)} are looked for"
        )
    parts = [name.split("/") for name in names]
    items = tuple(root / name for name in names)
    folders = {p[0].lower() for p in parts if len(p) > 1}
    splits = None
    odd = sorted({p[0] for p in parts if len(p) > 1 and p[0].lower() not in SPLIT_OF})
    if odd and len({SPLIT_OF[f] for f in folders if f in SPLIT_OF}) > 1:
        raise ValueError(
            f"{str(root)!r} holds split folders and {odd[0]!r}, which is none; name it one of "
            f"{', '.join(SPLIT_OF)}, or move it away"
        )
    if folders <= SPLIT_OF.keys() and ("train" in folders or len(folders) > 1):
        splits = tuple(SPLIT_OF[p[0].lower()] if len(p) > 1 else None for p in parts)
        parts = [p[1:] if len(p) > 1 else p for p in parts]
    labels = tuple(p[0] if len(p) > 1 else None for p in parts)
    return ImageSet(items, tuple(names), labels if any(labels) else None, splits)


def _walk(root: Path) -> tuple[list[str], Counter[str]]:
    """Paths of the images below a folder, relative to it, in POSIX form; suffixes of the rest.

    Links are followed, but not to a folder that they stand in. No file is asked for its
    status: `os.scandir` knows what is a folder.
    """
    found: list[str] = []
    others: Counter[str] = Counter()
    folders: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(str(root), "", frozenset())]
    while folders:
        folder, prefix, above = folders.pop()
        status = os.stat(folder)  # noqa: PTH116
        here = (status.st_dev, status.st_ino)
        if here in above:
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append((entry.path, f"{prefix}{entry.name}/", above | {here}))
                    continue
                suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
                if suffix in EXTENSIONS:
                    found.append(prefix + entry.name)
                elif entry.name.lower() not in _NO_FILES:
                    others[suffix] += 1
    return found, others
