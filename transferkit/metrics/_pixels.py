"""`PixelCounts`: how many pixels of each class are predicted right, counted image by image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import VOID, Annotations
from transferkit.metrics._boundaries import boundary_scores

__all__ = ["PixelCounts", "count_pixels", "dice_of", "iou_of", "mean_of_defined"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """Predicted and true pixels of many images, which are all that a metric is computed from.

    A pixel whose true class isn't known counts nowhere.

    Parameters
    ----------
    hits : ndarray of int, shape (n_images, n_classes)
        Pixels that are of the class and are predicted to be.
    true, predicted : ndarray of int, shape (n_images, n_classes)
        Pixels that are of it, and pixels that are predicted to be.
    boundaries : ndarray, shape (n_images, n_classes)
        Boundary F of each class in each image; NaN where the class has no boundary there.
    confusion : ndarray of int, shape (n_classes, n_classes + 1)
        Pixels of all images by true and predicted class; the last column counts those that are
        predicted to be of none.
    classes : tuple of str
        Their names.
    """

    task: ClassVar[str] = "segmentation"
    hits: Array
    true: Array
    predicted: Array
    boundaries: Array
    confusion: Array
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.true)

    @cached_property
    def iou(self) -> Array:
        """Intersection over union of each class over all images; NaN where it never occurs."""
        return iou_of(*self._totals)

    @cached_property
    def dice(self) -> Array:
        """Dice of each class over all images; NaN where it never occurs."""
        return dice_of(*self._totals)

    @cached_property
    def precision(self) -> Array:
        """Share of a class's predicted pixels that are right; NaN if it is never predicted."""
        return _ratio(self._totals[0], self._totals[2])

    @cached_property
    def recall(self) -> Array:
        """Share of a class's pixels that are predicted right; NaN if it has none."""
        return _ratio(self._totals[0], self._totals[1])

    @cached_property
    def boundary_f(self) -> Array:
        """Mean over the images of each class's boundary F; NaN where it never has a boundary."""
        return np.array([mean_of_defined(column) for column in self.boundaries.T])

    @cached_property
    def image_iou(self) -> Array:
        """Mean IoU of each image's own classes; NaN for an image without a known pixel."""
        parts = zip(self.hits, self.true, self.predicted, strict=True)
        return np.array([mean_of_defined(iou_of(*counts)) for counts in parts])

    @property
    def _totals(self) -> tuple[Array, Array, Array]:
        return self.hits.sum(axis=0), self.true.sum(axis=0), self.predicted.sum(axis=0)


def iou_of(hits: Array, true: Array, predicted: Array) -> Array:
    """Intersection over union from pixel counts; NaN where there is no pixel.

    References
    ----------
    Everingham et al. (2010), "The PASCAL visual object classes (VOC) challenge", section 4.3.
    """
    return _ratio(hits, true + predicted - hits)


def dice_of(hits: Array, true: Array, predicted: Array) -> Array:
    """Dice's coefficient, which is the F1 of the pixels; NaN where there is no pixel."""
    return _ratio(2 * hits, true + predicted)


def mean_of_defined(values: Array) -> float:
    """Mean of the values that aren't NaN; NaN, without a warning, if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan


def _ratio(part: Array, whole: Array) -> Array:
    ratio: Array = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return ratio


# ---- counting -----------------------------------------------------------------------


def count_pixels(
    truth: Iterable[Annotations],
    predicted: Iterable[Annotations],
    classes: Sequence[str],
    *,
    tolerance: float | None = None,
) -> PixelCounts:
    """Count predicted and true pixels, of one image after the other.

    Parameters
    ----------
    truth, predicted : iterable of Annotations
        With maps of one size, px; one of each per image. Only one image is held at a time.
    classes : sequence of str
        Names of the classes, by number.
    tolerance : float, optional
        How far a boundary may be from where it should be, px; by default 0.75 % of the
        diagonal, and at least 1.

    Raises
    ------
    ValueError
        If there are no images, or not one pixel of a known class; if one side has more images
        than the other, a map is missing or of another size, or a true class has no name.
    """
    n_classes = len(classes)
    rows: list[tuple[Array, Array]] = []
    confusion = np.zeros((n_classes, n_classes + 1), dtype=np.int64)
    for true_map, predicted_map in _checked(truth, predicted, n_classes):
        cells = _cells(true_map, predicted_map, n_classes)
        confusion += cells
        counts = np.stack([cells.diagonal(), cells.sum(axis=1), cells[:, :-1].sum(axis=0)])
        rows.append((counts, boundary_scores(true_map, predicted_map, n_classes, tolerance)))
    if not confusion.any():
        raise ValueError(
            f"there is no pixel to measure with in {len(rows):,} images: give at least one image "
            "whose true map has a class other than void"
        )
    hits, true, found = np.stack([counts for counts, _ in rows], axis=1)
    boundaries = np.stack([scores for _, scores in rows])
    return PixelCounts(hits, true, found, boundaries, confusion, tuple(map(str, classes)))


def _checked(
    truth: Iterable[Annotations], predicted: Iterable[Annotations], n_classes: int
) -> Iterator[tuple[Array, Array]]:
    """Yield true and predicted maps in pairs that fit."""
    for i, (true, found) in enumerate(zip_longest(truth, predicted)):
        if true is None or found is None:
            lacks, has = ("truth", "prediction")[:: 1 if true is None else -1]
            raise ValueError(f"image {i} has a {has} but no {lacks}; give one of each")
        if true.map is None or found.map is None:
            which = "truth" if true.map is None else "prediction"
            raise ValueError(f"the {which} of image {i} has no map; give a class for every pixel")
        if true.map.shape != found.map.shape:
            raise ValueError(
                f"the true map of image {i} is {true.map.shape[0]} × {true.map.shape[1]} px and "
                f"the predicted one {found.map.shape[0]} × {found.map.shape[1]} px; give both in "
                "the image's px"
            )
        odd = (true.map != VOID) & ((true.map < 0) | (true.map >= n_classes))
        if odd.any():
            raise ValueError(
                f"the true map of image {i} has class {int(true.map[odd][0])}; give numbers from "
                f"0 to {n_classes - 1}, or {VOID} for void"
            )
        yield true.map, found.map


def _cells(true: Array, predicted: Array, n_classes: int) -> Array:
    """Confusion matrix of one image, with a last column for what is no class."""
    is_known = true != VOID
    rows = true[is_known].astype(np.int64)
    columns = predicted[is_known].astype(np.int64)
    columns[(columns < 0) | (columns >= n_classes)] = n_classes
    width = n_classes + 1
    cells = np.bincount(rows * width + columns, minlength=n_classes * width)
    return cells.reshape(n_classes, width)
