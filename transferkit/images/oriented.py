"""Oriented boxes: rectangles that are turned, in one convention that holds everywhere.

A box is ``(x, y, length, width, angle)``: its centre and its two sides in px, the longer one
first, and the angle from the x axis to the longer side in degrees, counter-clockwise as one sees
it on the screen, from -90 up to, but not, 90. So a rectangle has one set of numbers, apart from a
square, whose angles repeat every 90 degrees. Files have other conventions; they are converted
where they are read and written, in `transferkit.annotations`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "canonical_oriented",
    "corners_of_oriented",
    "oriented_of_corners",
    "upright_of_oriented",
    "upright_within",
]

# px by which a point may lie outside of what it is on the edge of.
_ROUNDING = 1e-6


def canonical_oriented(boxes: ArrayLike) -> NDArray[np.float64]:
    """Put the longer side first and the angle into its range.

    Parameters
    ----------
    boxes : array of shape (m, 5)
        Centre x and y, sides, px; angle of the first side in degrees, counter-clockwise.

    Examples
    --------
    >>> canonical_oriented([[5, 5, 2, 8, 30], [5, 5, 8, 2, 270]]).tolist()
    [[5.0, 5.0, 8.0, 2.0, -60.0], [5.0, 5.0, 8.0, 2.0, -90.0]]
    """
    result = _checked(boxes).copy()
    is_tall = result[:, 3] > result[:, 2]
    result[is_tall, 2:4] = result[is_tall, 3:1:-1]
    angle = (result[:, 4] + 90 * is_tall + 90) % 180 - 90
    # A hair below -90 is rounded to 90, which is out of the range.
    result[:, 4] = np.where(angle >= 90, -90.0, angle)
    return result


def corners_of_oriented(boxes: ArrayLike) -> NDArray[np.float64]:
    """Corners of oriented boxes.

    Parameters
    ----------
    boxes : array of shape (m, 5)
        See the module.

    Returns
    -------
    ndarray of shape (m, 4, 2)
        x and y, px, clockwise on the screen; of an angle of 0 from the left upper corner on.

    Examples
    --------
    >>> corners_of_oriented([[5, 5, 8, 2, 0]]).tolist()
    [[[1.0, 4.0], [9.0, 4.0], [9.0, 6.0], [1.0, 6.0]]]
    """
    x, y, length, width, angle = _checked(boxes).T
    turn = np.deg2rad(angle)
    along = np.stack([np.cos(turn), -np.sin(turn)], 1) * length[:, None] / 2
    across = np.stack([np.sin(turn), np.cos(turn)], 1) * width[:, None] / 2
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    centre = np.stack([x, y], 1)
    return np.stack([centre + a * along + b * across for a, b in signs], 1)


def oriented_of_corners(corners: ArrayLike) -> NDArray[np.float64]:
    """Oriented boxes of four corners each, in either direction.

    Parameters
    ----------
    corners : array of shape (m, 4, 2)
        x and y, px. Of a quadrilateral that is no rectangle, it is the rectangle of the smallest
        area around it.

    Returns
    -------
    ndarray of shape (m, 5)
        See the module.

    Examples
    --------
    >>> oriented_of_corners([[[1, 4], [9, 4], [9, 6], [1, 6]], [[1, 6], [9, 6], [9, 4], [1, 4]]])
    array([[5., 5., 8., 2., 0.],
           [5., 5., 8., 2., 0.]])
    """
    points = np.asarray(corners, dtype=np.float64)
    if points.ndim != 3 or points.shape[1:] != (4, 2):
        raise ValueError(f"corners of shape {points.shape}; give x and y of four as (m, 4, 2)")
    # The smallest rectangle has a side along one of the edges (Freeman and Shapira, 1975, for the
    # convex hull, whose edges are among those of all pairs of corners).
    pairs = np.array([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (1, 3)])
    edges = points[:, pairs[:, 1]] - points[:, pairs[:, 0]]  # (m, 6, 2)
    lengths = np.linalg.norm(edges, axis=2)
    has_length = lengths > 0
    along = np.where(has_length[..., None], edges / np.where(has_length, lengths, 1)[..., None], 0)
    along[~has_length] = (1.0, 0.0)
    across = np.stack([-along[..., 1], along[..., 0]], 2)
    spans = []
    for axis in (along, across):
        at = np.einsum("mkc,mpc->mkp", axis, points)
        spans.append((at.min(2), at.max(2)))
    sides = [high - low for low, high in spans]
    areas = sides[0] * sides[1]
    # Of edges that are equally good the first is taken, whatever the last digit of an area is.
    best = (areas <= areas.min(1, keepdims=True) * (1 + 1e-9) + 1e-12).argmax(1)
    row = np.arange(len(points))
    u, v = along[row, best], across[row, best]
    middle = [((low + high) / 2)[row, best] for low, high in spans]
    centre = u * middle[0][:, None] + v * middle[1][:, None]
    angle = np.rad2deg(np.arctan2(-u[:, 1], u[:, 0]))
    one = np.stack([*centre.T, sides[0][row, best], sides[1][row, best], angle], 1)
    return canonical_oriented(one)


def upright_of_oriented(boxes: ArrayLike) -> NDArray[np.float64]:
    """Smallest upright boxes around oriented ones: left, top, right and bottom edge, px.

    Examples
    --------
    >>> upright_of_oriented([[5, 5, 8, 2, -90]]).round(6).tolist()
    [[4.0, 1.0, 6.0, 9.0]]
    """
    corners = corners_of_oriented(boxes)
    return np.concatenate([corners.min(1), corners.max(1)], axis=1)


def upright_within(boxes: ArrayLike, windows: ArrayLike) -> NDArray[np.float64]:
    """Smallest upright boxes around the parts of oriented boxes that lie within windows.

    Parameters
    ----------
    boxes : array of shape (m, 5)
        See the module.
    windows : array of shape (m, 4), or (4,)
        Left, top, right and bottom edge of each one's window, px, or of that of all.

    Returns
    -------
    ndarray of shape (m, 4)
        Left, top, right and bottom edge, px; a corner of the window twice where nothing of the
        box lies within it.

    Examples
    --------
    A long box goes diagonally through a window, and hits it only near a corner:

    >>> upright_within([[10, 10, 40, 0.2, 45]], [12, 0, 20, 20]).round().tolist()
    [[12.0, 0.0, 20.0, 8.0]]
    """
    given = _checked(boxes)
    window = np.broadcast_to(np.asarray(windows, dtype=np.float64), (len(given), 4))
    low, high = window[:, None, :2], window[:, None, 2:]
    corners = corners_of_oriented(given)
    edges = np.roll(corners, -1, axis=1) - corners
    points = [corners]
    # Where the box's edges cross the lines of the window's.
    for bound in (low, high):
        for axis in (0, 1):
            away = bound[..., axis] - corners[..., axis]
            run = edges[..., axis]
            share = np.divide(away, run, out=np.full_like(away, np.nan), where=run != 0)
            share[(share < 0) | (share > 1)] = np.nan
            points.append(corners + share[..., None] * edges)
    # Corners of the window, if they are in the box.
    own = window[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
    turn = np.deg2rad(given[:, 4, None])
    x, y = np.moveaxis(own - given[:, None, :2], 2, 0)
    along, across = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    half = given[:, 2:4] / 2 + _ROUNDING
    is_inside = (np.abs(along) <= half[:, :1]) & (np.abs(across) <= half[:, 1:])
    points.append(np.where(is_inside[..., None], own, np.nan))
    every = np.concatenate(points, axis=1)
    is_seen = (every >= low - _ROUNDING) & (every <= high + _ROUNDING)
    is_seen = is_seen[..., :1] & is_seen[..., 1:]
    first = np.where(is_seen, every, np.inf).min(1)
    last = np.where(is_seen, every, -np.inf).max(1)
    found = np.concatenate([first, last], 1)
    nothing = np.flatnonzero(~is_seen[..., 0].max(axis=1))
    found[nothing] = np.tile(window[nothing, :2], 2)
    return found.clip(np.tile(window[:, :2], 2), np.tile(window[:, 2:], 2))


def _checked(boxes: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(boxes, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 5:
        raise ValueError(
            f"oriented boxes of shape {array.shape}; give centre x and y, two sides and an angle "
            "as (m, 5)"
        )
    return array
