"""Areas and overlaps of boxes, as COCO measures them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["box_areas", "box_overlaps", "paired_overlaps"]

Array = NDArray[Any]


def box_areas(boxes: Array) -> Array:
    """Areas of boxes, px².

    Parameters
    ----------
    boxes : ndarray, shape (..., 4)
        Left, top, right and bottom edge, px.
    """
    areas: Array = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return areas


def box_overlaps(boxes: Array, others: Array, is_crowd: Array | None = None) -> Array:
    """Intersection over union of every box with every other one.

    Parameters
    ----------
    boxes : ndarray, shape (m, 4)
        Left, top, right and bottom edge, px.
    others : ndarray, shape (k, 4)
        The other ones.
    is_crowd : ndarray of bool, shape (k,), optional
        Other boxes that hold many objects: a box inside of one overlaps with it entirely, so
        the intersection is divided by the box's own area.

    Returns
    -------
    ndarray, shape (m, k)
        From 0 to 1; 0 for boxes without area.

    Examples
    --------
    >>> one, two = np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2], [0, 0, 9, 9]])
    >>> box_overlaps(one, two, np.array([False, True])).round(3).tolist()
    [[0.333, 1.0]]
    """
    crowds = np.zeros(len(others), dtype=bool) if is_crowd is None else is_crowd
    return _overlaps(boxes[:, None], others[None], crowds[None])


def paired_overlaps(boxes: Array, others: Array) -> Array:
    """Intersection over union of each box with the other one in its place.

    Parameters
    ----------
    boxes, others : ndarray, shape (m, 4)
        As in `box_overlaps`.
    """
    return _overlaps(boxes, others, np.zeros(len(boxes), dtype=bool))


def _overlaps(one: Array, other: Array, is_crowd: Array) -> Array:
    low = np.maximum(one[..., :2], other[..., :2])
    high = np.minimum(one[..., 2:], other[..., 2:])
    shared = (high - low).clip(0).prod(axis=-1)
    whole = np.where(is_crowd, box_areas(one), box_areas(one) + box_areas(other) - shared)
    overlaps: Array = np.divide(shared, whole, out=np.zeros(shared.shape), where=shared > 0)
    return overlaps
