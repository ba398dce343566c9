"""Outliers: images whose neighbours are farther than those of others, or of others of their class.

The distance to the k-th nearest neighbour, among rows of length 1, tells images that are unlike
all others (Y. Sun et al., Out-of-Distribution Detection with Deep Nearest Neighbors, 2022). What is
far is judged by the distances of the same class: a class may be more varied than another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.images.imageset import Label
from transferkit.inspection.findings import Finding
from transferkit.inspection.neighbors import Neighbourhoods

__all__ = ["outliers", "robust_deviations"]

Array = NDArray[Any]
NEIGHBOUR = 5
"""Number of the neighbour whose distance counts."""
LEAST_DEVIATION = 3.5
"""Robust standard deviations above the median from which on an image is an outlier."""
# Smaller classes are judged by the distances of all images.
_LEAST_CLASS = 20


def outliers(near: Neighbourhoods, labels: Sequence[Label] | None = None) -> list[Finding]:
    """Find images that are unlike all others.

    Parameters
    ----------
    near : Neighbourhoods
        Of the images' features.
    labels : sequence, optional
        Labels of the images.

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal([5, 0, 0], 0.3, size=(50, 3))
    >>> rows[7] = [0, 5, 0]
    >>> outliers(Neighbourhoods.of(rows))[0].image
    7
    """
    if near.distance.shape[1] < NEIGHBOUR:
        return []
    distance = near.distance[:, NEIGHBOUR - 1]
    deviation = robust_deviations(np.log(np.maximum(distance, 1e-6)), labels)
    usual = float(np.median(distance))
    found = np.flatnonzero(deviation >= LEAST_DEVIATION)
    return [
        Finding(
            "outlier",
            int(i),
            round(float(1 - 1 / deviation[i]), 4),
            f"its {NEIGHBOUR}th neighbour is {distance[i] / max(usual, 1e-6):.1f} times as far as "
            f"usual ({deviation[i]:.1f} robust standard deviations)",
        )
        for i in found[np.argsort(-deviation[found], kind="stable")]
    ]


def robust_deviations(values: Array, labels: Sequence[Label] | None = None) -> Array:
    """Distance from the median in standard deviations, both robust, within each class.

    Parameters
    ----------
    values : ndarray of shape (n,)
        A number of each image.
    labels : sequence, optional
        Their classes. Those of fewer than 20 images are compared with all images.

    Examples
    --------
    >>> robust_deviations(np.array([1.0, 2.0, 3.0])).round(2).tolist()
    [-0.67, 0.0, 0.67]
    """
    deviation = _deviations(values, values)
    if labels is None or any(isinstance(label, tuple) for label in labels):
        return deviation
    codes = np.unique([str(label) for label in labels], return_inverse=True)[1]
    for code in range(int(codes.max()) + 1):
        own = codes == code
        if own.sum() >= _LEAST_CLASS:
            deviation[own] = _deviations(values[own], values)
    return deviation


def _deviations(values: Array, all_values: Array) -> Array:
    middle = np.median(values)
    # 1.4826: of normally distributed values it makes the standard deviation.
    spread = 1.4826 * np.median(np.abs(values - middle))
    # A class of near-equal images isn't full of outliers.
    least = 0.1 * 1.4826 * np.median(np.abs(all_values - np.median(all_values)))
    return np.asarray((values - middle) / max(spread, least, 1e-12))
