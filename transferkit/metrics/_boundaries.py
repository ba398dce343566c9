"""How well the boundaries of classes are found, in one image.

References
----------
Csurka, Larlus, Perronnin (2013), "What is a good evaluation measure for semantic
segmentation?", section 3; Perazzi et al. (2016), "A benchmark dataset and evaluation
methodology for video object segmentation", section 4.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from transferkit.annotations import VOID

__all__ = ["TOLERANCE", "boundary_scores", "edges_of"]

Array = NDArray[Any]

TOLERANCE = 0.0075
"""How far a boundary may be from where it should be, in diagonals of the image."""


def boundary_scores(
    true: Array, predicted: Array, n_classes: int, tolerance: float | None = None
) -> Array:
    """Boundary F of each class in one image.

    The precision of a class is the share of its predicted boundary pixels that are within the
    tolerance of a true one, its recall the share of the true ones that are within it of a
    predicted one, and F their harmonic mean (Csurka et al., 2013, equation 1).

    Parameters
    ----------
    true, predicted : ndarray of int, shape (height, width)
        Class of every pixel.
    n_classes : int
        Number of classes.
    tolerance : float, optional
        px; by default `TOLERANCE` of the diagonal, and at least 1, since a boundary between two
        pixels belongs to both.

    Returns
    -------
    ndarray of shape (n_classes,)
        NaN for a class that has neither a true nor a predicted boundary; in an image with void
        pixels, which may hide it, for every class that has no true one.
    """
    reach = max(1.0, TOLERANCE * math.hypot(*true.shape)) if tolerance is None else tolerance
    found = np.where(true == VOID, VOID, np.where(predicted == VOID, n_classes, predicted))
    one, other = (_points(classes, n_classes) for classes in (true, found))
    n_true, n_found = (_counted(points, n_classes) for points in (one, other))
    recall = _counted(one[_is_near(one, other, reach)], n_classes) / np.maximum(n_true, 1)
    precision = _counted(other[_is_near(other, one, reach)], n_classes) / np.maximum(n_found, 1)
    total = precision + recall
    scores = np.divide(2 * precision * recall, total, out=np.zeros(n_classes), where=total > 0)
    is_hidden = (n_true == 0) & bool((true == VOID).any())
    return np.where((n_true + n_found > 0) & ~is_hidden, scores, np.nan)


def edges_of(classes: Array) -> Array:
    """Whether each pixel has one of another class above, below, left or right of it.

    Nothing is known about the boundary beside a void pixel, or at the image's edge: neither
    makes one.
    """
    edges = np.zeros(classes.shape, bool)
    for axis in (0, 1):
        first, second = (classes.take(range(i, classes.shape[axis] - 1 + i), axis) for i in (0, 1))
        differs = (first != second) & (first != VOID) & (second != VOID)
        ends = [(0, 0), (0, 0)]
        for ends[axis] in ((0, 1), (1, 0)):
            edges |= np.pad(differs, ends)
    return edges


def _points(classes: Array, n_classes: int) -> Array:
    """Class, row and column of each boundary pixel, of shape (n, 3)."""
    edges = edges_of(classes) & (classes >= 0) & (classes < n_classes)
    return np.column_stack([classes[edges], *np.nonzero(edges)]).astype(np.float64)


def _is_near(points: Array, others: Array, reach: float) -> Array:
    """Whether there is another point of the same class within reach of each point."""
    if not len(points) or not len(others):
        return np.zeros(len(points), bool)
    # Classes as a third axis, further apart than the reach: one search serves all of them.
    apart = np.array([2 * reach + 1, 1, 1])
    # The bound is exclusive.
    distance, _ = cKDTree(others * apart).query(
        points * apart, distance_upper_bound=np.nextafter(reach, np.inf)
    )
    is_near: Array = np.isfinite(distance)
    return is_near


def _counted(points: Array, n_classes: int) -> Array:
    return np.bincount(points[:, 0].astype(np.intp), minlength=n_classes)
