"""Nearest other rows of every row, tile by tile: memory never grows with the square of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.solvers.neighbors import exact, nearest

__all__ = ["nearest_others", "unit_rows"]

Array = NDArray[Any]
# Rows that are searched at once, with 2048 queries of a block: 64 MB in float32.
_ROWS = 8192


def unit_rows(rows: Array) -> Array:
    """Rows of length 1, float32; those of length 0 stay so.

    Examples
    --------
    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    rows = np.asarray(rows, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths == 0, 1, lengths))


def nearest_others(queries: Array, rows: Array, k: int) -> tuple[Array, Array]:
    """Find the k nearest rows of each query, other than the row at the query's own position.

    Parameters
    ----------
    queries, rows : ndarray of shape (n, d)
        Query i is of the same image as row i, such as the row of its mirror image.
    k : int
        How many; n - 1 where there are fewer.

    Returns
    -------
    ndarray of int, ndarray of float, both of shape (n, k)
        Positions, nearest first, and Euclidean distances.

    Examples
    --------
    >>> rows = np.array([[0.0], [1.0], [5.0]], dtype=np.float32)
    >>> nearest_others(rows, rows, 1)[0].ravel().tolist()
    [1, 0, 1]
    """
    n = len(rows)
    # One more, because the row at the query's own position is mostly among the nearest.
    wanted = min(k + 1, n)
    starts = range(0, n, _ROWS)
    tiles = ((slice(first, first + _ROWS), rows[first : first + _ROWS]) for first in starts)
    index, squared = nearest(queries, tiles, wanted, exact)
    return _without_own(index, squared)


def _without_own(index: Array, squared: Array) -> tuple[Array, Array]:
    """Leave the own position out of each line, or else the farthest, so that all are as long."""
    is_own = index == np.arange(len(index))[:, None]
    is_own[~is_own.any(axis=1), -1] = True
    shape = len(index), index.shape[1] - 1
    return index[~is_own].reshape(shape), np.sqrt(squared[~is_own].reshape(shape))
