"""The layout of MVTec AD: good images to learn from, good and defect ones to test, masks beside.

``train/good``, ``test/good``, ``test/<defect>`` and ``ground_truth/<defect>/<stem>_mask.png``
(Bergmann et al., 2019, "MVTec AD — a comprehensive real-world dataset for unsupervised anomaly
detection"). Good images have no mask: they are good in every pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.annotations._annotations import Annotations, AnnotationSet
from transferkit.annotations._classes import ClassTable
from transferkit.annotations._matching import NothingFits, match, root_of
from transferkit.annotations._pixels import pixels_of
from transferkit.images import ImageSet, size_of
from transferkit.images.items import Item, file_of
from transferkit.images.sources.folder import files_below

__all__ = ["GIVES", "SUMMARY", "MvtecReader", "accepts", "found", "read"]

GIVES = frozenset(("map", "good"))
SUMMARY = "the root of a set in MVTec's layout (ground_truth/ beside test/)"

GROUND_TRUTH = "ground_truth"
_GOOD = frozenset(("good", "ok", "normal"))


@dataclass(frozen=True)
class MvtecReader:
    """Reads where an image has a defect."""

    def __call__(self, item: Path | tuple[Item]) -> Annotations:
        """Read a mask, or make the one of a good image.

        Parameters
        ----------
        item : Path, or (image,)
            File of the mask; in a tuple the image itself, which is good.

        Returns
        -------
        Annotations
            With 0 where the image is good and 1 where it has a defect, and its `score`, 0 or 1.
        """
        if isinstance(item, tuple):
            return Annotations(size := size_of(item[0]), np.zeros(size, np.int16), score=0.0)
        try:
            mask = pixels_of(item)
        except ValueError as error:
            raise ValueError(f"mask {str(item)!r}: {error}") from error
        # Any value but 0 is a defect; 255 is no void here. Lossy files are black and white.
        values = mask.values & 0xFF if mask.kind == "colour" else mask.values
        classes = (values >= 128 if mask.is_lossy else mask.values != 0).astype(np.int16)
        height, width = classes.shape
        return Annotations((height, width), map=classes, score=1.0)


def accepts(given: Path) -> bool:
    """Whether a path is a folder ``ground_truth``, or one that holds it beside ``test``."""
    if given.name == GROUND_TRUTH:
        return given.is_dir() and (given.parent / "test").is_dir()
    return (given / GROUND_TRUTH).is_dir() and (given / "test").is_dir()


def found(images: ImageSet) -> list[Path]:
    """Root of the layout, if the images' folder is in it."""
    root = root_of(images)
    if root is None:
        return []
    near = (root, *list(root.parents)[:2])
    return [place for place in near if accepts(place)][:1]


def read(given: Sequence[Path], images: ImageSet, classes: ClassTable | None) -> AnnotationSet:
    """List the masks of defect images; those in a folder ``good`` need none."""
    if len(given) != 1:
        raise ValueError(f"{len(given)} folders of MVTec's layout are given; give one at a time")
    truth = given[0] if given[0].name == GROUND_TRUTH else given[0] / GROUND_TRUTH
    is_good = [_folder(images, i) in _GOOD for i in range(len(images))]
    rest = images.select(i for i, good in enumerate(is_good) if not good)
    masks = iter(match(rest, files_below(truth)) if len(rest) else ())
    items: list[Any] = []
    for item, good in zip(images.items, is_good, strict=True):
        file = None if good else next(masks)
        items.append((item,) if good else None if file is None else truth / file)
    if not any(item is not None for item in items):
        raise NothingFits(
            f"no image is in a folder 'good', and none has a mask in {str(truth)!r}; list the "
            f"images of {str(truth.parent)!r}"
        )
    names = ("good", "defect") if classes is None else classes.names
    if len(names) != 2:
        raise ValueError(
            f"{len(names)} classes are named for MVTec's layout; name two, good and defect"
        )
    return AnnotationSet(names, items, MvtecReader(), images.names)


def _folder(images: ImageSet, i: int) -> str:
    """Name of the folder that an image is in."""
    path = file_of(images.items[i])
    name = images.names[i].replace("\\", "/") if path is None else path.as_posix()
    return name.split("/")[-2].casefold() if "/" in name else ""
