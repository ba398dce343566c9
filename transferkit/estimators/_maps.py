"""Maps of images from the store, and which images with annotations can be used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.annotations import AnnotationSet
from transferkit.estimators._tiles import Box
from transferkit.extract import Extraction
from transferkit.images import Failure, Frame, ImageSet
from transferkit.store import StoredRows

__all__ = ["Maps", "Rows", "Usable"]

Rows = NDArray[Any] | StoredRows

# Images whose maps are predicted from at a time.
_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class Maps:
    """Extracted maps of some images, with what takes their px to the network's and back.

    Parameters
    ----------
    extraction : Extraction
        Which images have maps, and which could not be read.
    levels : list of ndarray or StoredRows
        Rows of each level ``(n, D, H, W)``, fine to coarse, for each image or for each tile.
    frames : list of Frame
        From the px of each row's image to the network's.
    sizes : list of (int, int)
        Height and width of each row's image, px.
    image_of : ndarray of int, optional
        Position, among the kept images, of the one that each row is a tile of, image by image;
        None if the rows are images.
    boxes : list of (int, int, int, int), default=[]
        Left, top, right and bottom edge of each tile, px of its image.
    """

    extraction: Extraction
    levels: list[Rows]
    frames: list[Frame]
    sizes: list[tuple[int, int]]
    image_of: NDArray[np.intp] | None = None
    boxes: list[Box] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def image_of_rows(self) -> NDArray[np.intp]:
        """Position, among the kept images, of the image of each row."""
        return np.arange(len(self)) if self.image_of is None else self.image_of

    def of_rows(self, annotations: AnnotationSet) -> AnnotationSet:
        """Annotations of the image of each row, in the image's px, from those of the images."""
        return annotations.select(self.image_of_rows)

    def frame_of_row(self, i: int) -> tuple[Frame, tuple[int, int]]:
        """Frame from the px of an image or tile to the network's, and its height and width."""
        if self.image_of is None:
            return self.frames[i], self.sizes[i]
        left, top, right, bottom = self.boxes[i]
        return Frame((1, 1), (left, top)).then(self.frames[i]), (bottom - top, right - left)

    def batches(self, size: int = _AT_ONCE) -> Iterator[tuple[range, list[Tensor]]]:
        """Yield positions and the maps of each level, a batch at a time."""
        for start in range(0, len(self), size):
            at = range(start, min(start + size, len(self)))
            yield at, [torch.from_numpy(np.asarray(rows[at.start : at.stop])) for rows in
                       self.levels]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Usable:
    """Images that can be read, with good annotations where they have any.

    Parameters
    ----------
    images : ImageSet
        Which.
    annotations : AnnotationSet or None
        Theirs; None if none are known.
    ids : tuple of bytes
        Their row ids.
    failures : list of Failure
        The images that were left out, and why.
    remarks : list of Failure
        What was mended in the annotations of the others.
    """

    images: ImageSet
    annotations: AnnotationSet | None
    ids: tuple[bytes, ...]
    failures: list[Failure]
    remarks: list[Failure]

    def select(self, indices: Any) -> tuple[ImageSet, AnnotationSet | None]:
        """Return some of the images with their annotations."""
        own = None if self.annotations is None else self.annotations.select(indices)
        return self.images.select(indices), own
