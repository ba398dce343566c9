"""Polygons along the edges of an object's pixels, which fill exactly these pixels again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations._regions import Region, region_of_mask

__all__ = ["polygons_of_mask"]


def polygons_of_mask(mask: NDArray[np.bool_] | Region) -> list[NDArray[np.float64]] | None:
    """Return the contours of an object, one for each of its parts.

    Every second edge is horizontal, and the corners are those of pixels, so that
    `region_of_polygons` fills exactly the same ones. Parts that touch at a corner alone are
    separate.

    Parameters
    ----------
    mask : ndarray of bool, shape (height, width), or Region
        Pixels of the object.

    Returns
    -------
    list of ndarray of shape (n, 2), or None
        Corners (x, y) of each, px, clockwise on the screen. None if the object has a hole, which
        a list of polygons that are filled one over the other can't tell.

    Examples
    --------
    >>> [ring.tolist() for ring in polygons_of_mask(np.array([[True, True], [False, True]]))]
    [[[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [1.0, 2.0], [1.0, 1.0], [0.0, 1.0]]]
    """
    region = mask if isinstance(mask, Region) else region_of_mask(mask)
    rows, columns, beside, below = _corners(region.pixels)
    along_row, along_column = _pairs(rows, columns, beside), _pairs(columns, rows, below)
    # The first corner of a contour that isn't visited yet is its left upper one: in it a part
    # begins, or, if the pixel there isn't the object's, a hole.
    is_left = [True] * len(rows)
    rings = []
    for first in np.lexsort((beside, columns, rows)).tolist():
        if not is_left[first]:
            continue
        if not region.pixels[rows[first], columns[first]]:
            return None
        ring, at = [], first
        while is_left[at]:
            is_left[at] = False
            beyond = along_row[at]
            is_left[beyond] = False
            ring += [at, beyond]
            at = along_column[beyond]
        rings.append(np.stack([columns[ring] + region.left, rows[ring] + region.top], axis=1))
    return [ring.astype(np.float64) for ring in rings]


def _corners(
    pixels: NDArray[np.bool_],
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of each corner, and which of two in one place is the first along these.

    Where two pixels touch at a corner alone, each has a corner of its own.
    """
    padded = np.pad(pixels, 1).astype(np.int8)
    around = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    is_odd = (around[0] + around[1] + around[2] + around[3]) % 2 == 1
    is_falling = (around[0] & around[3]) > (around[1] | around[2])
    is_rising = (around[1] & around[2]) > (around[0] | around[3])
    places, firsts = [np.argwhere(is_odd)], [np.zeros((int(is_odd.sum()), 2), dtype=np.intp)]
    # Of the pixels of a falling diagonal the left one is the upper one, of a rising one the lower.
    for is_double, orders in ((is_falling, ((0, 0), (1, 1))), (is_rising, ((0, 1), (1, 0)))):
        for order in orders:
            at = np.argwhere(is_double)
            places.append(at)
            firsts.append(np.broadcast_to(np.array(order, dtype=np.intp), at.shape))
    place, first = np.concatenate(places), np.concatenate(firsts)
    return place[:, 0], place[:, 1], first[:, 0], first[:, 1]


def _pairs(
    lines: NDArray[np.intp], places: NDArray[np.intp], firsts: NDArray[np.intp]
) -> list[int]:
    """For each corner the one at the other end of its edge, where edges lie along lines."""
    order = np.lexsort((firsts, places, lines))
    partner = np.empty(len(order), dtype=np.intp)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return partner.tolist()
