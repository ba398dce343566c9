"""A folder of mask files, one per image: the class of every pixel, by value or by colour."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.annotations._annotations import VOID, Annotations, AnnotationSet
from transferkit.annotations._classes import ClassTable, class_table, find_class_table
from transferkit.annotations._coding import MaskCoding, MaskSample, coding_of, sample_of
from transferkit.annotations._matching import NothingFits, match, root_of
from transferkit.annotations._pixels import MaskPixels, pixels_of
from transferkit.annotations._places import image_files, is_instance_place, written_name
from transferkit.images import EXTENSIONS, ImageError, ImageSet, size_of
from transferkit.images.items import file_of
from transferkit.images.layouts import MASK_FOLDERS, MASK_SUFFIXES
from transferkit.images.splits import split_of

__all__ = ["GIVES", "SUMMARY", "MaskReader", "accepts", "found", "of_arrays", "read", "write"]

GIVES = frozenset(("map",))
SUMMARY = "a folder of mask files (PNG, TIFF, BMP, GIF; index, palette or colours)"

MAX_SAMPLE, MIN_SAMPLE = 2_000, 50
"""Most masks that are looked at to find out how they tell classes; and how many large ones."""
MAX_SAMPLE_PIXELS = 400_000_000
"""Pixels of all masks that are looked at; some seconds' work."""


@dataclass(frozen=True, eq=False)
class MaskReader:
    """Reads the class of every pixel from masks.

    Parameters
    ----------
    root : Path
        Folder that the files' paths are relative to.
    coding : MaskCoding
        From what stands in them to classes.
    """

    root: Path
    coding: MaskCoding

    def __call__(self, item: str | NDArray[Any]) -> Annotations:
        """Read a mask.

        Parameters
        ----------
        item : str or ndarray
            Path of a file, or the mask itself.

        Raises
        ------
        ValueError
            If it can't be read, or holds what stands for no class.
        """
        name = f"mask {str(self.root / item)!r}" if isinstance(item, str) else "the mask"
        try:
            found = self.coding.map_of(
                pixels_of(self.root / item if isinstance(item, str) else item)
            )
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        height, width = found.shape
        return Annotations((height, width), map=found)


def accepts(given: Path) -> bool:
    """Whether a path is a folder, but none of instance masks, or a single mask file."""
    if given.is_dir():
        return not is_instance_place(given)
    return given.suffix.lower() in EXTENSIONS and given.is_file()


def found(images: ImageSet) -> list[Path]:
    """Folders of masks in the images' folder, beside it, or with masks beside each image."""
    root = root_of(images)
    if root is None:
        return []
    beside = [root.parent, *((root.parent.parent,) if split_of(root.name) else ())]
    within = _folders_within(root, images)
    folders = [place / name for place in [*beside, *within] for name in MASK_FOLDERS]
    kept = [folder for folder in _once(folders) if folder.is_dir() and _has_masks(folder)]
    inner = [folder for folder in kept if root in folder.parents]
    return inner or kept or ([root] if _stand_beside(images) else [])


def _folders_within(root: Path, images: ImageSet) -> list[Path]:
    """Folders above the images, from their root on down; not more than `MAX_SAMPLE`."""
    files = (file_of(item) for item in images.items)
    parents = {path.parent for path in files if path is not None}
    above = {folder for parent in parents for folder in _with_above(parent.absolute())}
    inside = sorted(f for f in above if f == root or root in f.parents)
    return sorted(inside, key=lambda folder: len(folder.parts))[:MAX_SAMPLE]


def _with_above(folder: Path) -> tuple[Path, ...]:
    return (folder, *folder.parents)


def _once(folders: Iterable[Path]) -> Iterator[Path]:
    """Leave out what is the same folder on a file system that doesn't tell case."""
    seen: set[tuple[int, int]] = set()
    for folder in folders:
        try:
            status = folder.stat()
        except OSError:
            continue
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            yield folder


def _has_masks(folder: Path) -> bool:
    """Whether a folder holds any file that may be a mask: the first one found will do."""
    files = (file for _, _, names in os.walk(folder) for file in names)
    return any(file.lower().endswith(EXTENSIONS) for file in files)


def _stand_beside(images: ImageSet) -> bool:
    """Whether the first image's folder holds its mask too."""
    path = file_of(images.items[0])
    if path is None:
        return False
    return any(path.with_name(f"{path.stem}{s}.png").is_file() for s in MASK_SUFFIXES)


def read(given: Sequence[Path], images: ImageSet, classes: ClassTable | None) -> AnnotationSet:
    """List the masks of images, and find out how they tell classes.

    Without values or colours in a class table: 0/255 (or 16-bit 65535) is black and white, the
    classes 0 and 1; anything else is the number of a class, and 255 is void. Masks with a
    palette are read by the places in it, or by its colours if the table has colours. Up to
    `MAX_SAMPLE` masks from all over the list are looked at, fewer if they are large.
    """
    base, files = image_files(given, images)
    items = match(images, files)
    if not any(item is not None for item in items):
        raise NothingFits(_none_fits(given, images, files))
    if classes is None:
        folders = _once([*given, *(path.parent for path in given)])
        table = find_class_table(folder for folder in folders if folder.is_dir())
        classes = None if table is None else class_table(table)
    sample = _sampled(base, [item for item in items if item is not None])
    coding = coding_of(sample, classes)
    return AnnotationSet(coding.names, items, MaskReader(base, coding), images.names)


def _none_fits(given: Sequence[Path], images: ImageSet, files: Sequence[str]) -> str:
    where = ", ".join(repr(str(path)) for path in given[:3])
    held = f"such as {files[0]!r}" if files else "none"
    return (
        f"no mask in {where} belongs to an image: a mask is called like its image, as "
        f"{PurePosixPath(images.names[0]).with_suffix('.png').as_posix()!r} or with _mask behind "
        f"its stem; masks there are {held}"
    )


def _sampled(base: Path, files: Sequence[str]) -> MaskSample:
    """Look at masks from all over the list. One that can't be read is a fault for later."""
    largest = max((_n_pixels(base / file) for file in files[:10]), default=1)
    n = min(len(files), MAX_SAMPLE, max(MIN_SAMPLE, MAX_SAMPLE_PIXELS // largest))
    chosen = [files[i * len(files) // n] for i in range(n)]

    def readable() -> Iterator[MaskPixels]:
        for file in chosen:
            try:
                yield pixels_of(base / file)
            except ImageError:
                continue

    return sample_of(readable())


def _n_pixels(file: Path) -> int:
    try:
        return math.prod(size_of(file))
    except (OSError, ImageError):
        return 1


def of_arrays(given: Sequence[Any], images: ImageSet, classes: ClassTable | None) -> AnnotationSet:
    """Take masks that are in memory: one array per image, or None where there is none."""
    items = [None if one is None else np.asarray(one) for one in given]

    def pixels() -> Iterator[MaskPixels]:
        for item, name in zip(items, images.names, strict=True):
            try:
                if item is not None:
                    yield pixels_of(item)
            except ImageError as error:
                raise ValueError(f"annotations of {name!r}: {error}") from error

    sample = sample_of(pixels())
    coding = coding_of(sample, classes)
    return AnnotationSet(coding.names, items, MaskReader(Path(), coding), images.names)


# ---- writing --------------------------------------------------------------------------


def write(
    path: Path,
    names: Iterable[str],
    annotations: Iterable[Annotations],
    classes: Sequence[str],
    **options: Any,
) -> None:
    """Write a PNG per image into a folder, and ``classes.json`` beside them.

    The files have a palette, and 255 where the class is void; with more than 255 classes they
    are grey and have 16 bits, and void is 65535. Reading them gives the same maps again.
    """
    path.mkdir(parents=True, exist_ok=True)
    table = [{"name": name, "value": value} for value, name in enumerate(classes)]
    (path / "classes.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    for name, one in zip(names, annotations, strict=True):
        if one.map is None:
            raise ValueError(f"{name!r} has no class per pixel; masks are written of maps")
        target = path / written_name(name, ".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        _mask_image(one.map, len(classes)).save(target, format="PNG")


def _mask_image(classes: NDArray[Any], n_classes: int) -> Image.Image:
    if classes.min(initial=0) < VOID or classes.max(initial=0) >= n_classes:
        raise ValueError(
            f"classes from {classes.min()} to {classes.max()} stand in the map, and "
            f"{n_classes} are named; name all of them"
        )
    if n_classes > 255:
        return Image.fromarray(np.where(classes == VOID, 65_535, classes).astype(np.uint16))
    image = Image.fromarray(np.where(classes == VOID, 255, classes).astype(np.uint8)).convert("P")
    image.putpalette(voc_palette())
    return image


def voc_palette() -> bytes:
    """Colours of Pascal VOC, red, green and blue of 256 classes.

    The bits of a class's number are dealt to the three channels, from the highest on, so
    that neighbours look different; 255 is the light colour of void.

    References
    ----------
    Everingham et al. (2010), "The Pascal visual object classes (VOC) challenge", development
    kit, ``VOCcolormap``.

    Examples
    --------
    >>> list(voc_palette()[:9]), list(voc_palette()[-3:])
    ([0, 0, 0, 128, 0, 0, 0, 128, 0], [224, 224, 192])
    """
    number = np.arange(256)[:, None] >> (3 * np.arange(8)) & 7  # bits, three at a time
    channels = [(number >> c & 1) << (7 - np.arange(8)) for c in range(3)]
    return np.stack([c.sum(1) for c in channels], axis=1).astype(np.uint8).tobytes()
