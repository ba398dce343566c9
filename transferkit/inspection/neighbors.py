"""Nearest rows of each row by exact search, a block at a time.

Memory doesn't grow with the product of queries and rows, nor with rows that lie in files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.solvers.standardize import unit_rows

__all__ = [
    "NEIGHBOURS",
    "Neighbourhoods",
    "nearest_of_candidates",
    "nearest_others",
    "nearest_rows",
]

Array = NDArray[Any]
NEIGHBOURS = 10
"""Nearest other images of each that an inspection looks at."""
# Numbers of the largest array held at once: 64 MB in float32.
_BLOCK = 2**24
# Queries for which the rows are read once.
_QUERIES = 2048


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """Rows of length 1, and the nearest others of each.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        Float32, of length 1; those of length 0 stay so.
    index : ndarray of int, shape (n, k)
        Positions of the nearest other rows, nearest first; k is `NEIGHBOURS`, or n - 1 where
        there are fewer.
    distance : ndarray of shape (n, k)
        Euclidean distances to them.
    """

    rows: Array
    index: Array
    distance: Array

    @classmethod
    def of(cls, rows: Array) -> Neighbourhoods:
        """Search the neighbours of rows of any length.

        Examples
        --------
        >>> Neighbourhoods.of(np.array([[2.0, 0], [0, 3], [5, 1]])).index.tolist()
        [[2, 1], [2, 0], [0, 1]]
        """
        unit = unit_rows(np.asarray(rows, dtype=np.float32))
        return cls(unit, *nearest_others(unit, unit, NEIGHBOURS))


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
    k = min(k, n - 1)
    if k < 1:
        return np.zeros((n, 0), dtype=np.intp), np.zeros((n, 0))
    own = np.arange(n)[:, None]
    index, distance = nearest_rows(queries, [rows], k, metric="euclidean", left_out=list(own))
    return np.stack(index), np.stack(distance)


def nearest_rows(
    queries: Array,
    sources: Sequence[Any],
    k: int,
    *,
    metric: str = "cosine",
    left_out: Sequence[Array] | None = None,
) -> tuple[list[Array], list[Array]]:
    """Find the nearest rows of each query, by reading all rows once, a block at a time.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, d)
        What to look for.
    sources : sequence of ndarray or StoredRows of shape (n_rows, d_i)
        Where to look: arrays whose rows stand side by side, and are d long together.
    k : int
        How many to find of each.
    metric : {"cosine", "euclidean"}, default="cosine"
        A row of zeros has a cosine of 0 with any other.
    left_out : sequence of ndarray of int, optional
        Of each query the rows that don't count.

    Returns
    -------
    positions, scores : list of ndarray
        Of each query the positions of its nearest rows, the nearest first, and their cosines or
        distances. Of rows that are equally near the first comes first; where there are more of
        them than there is room for, any may be left out.

    Examples
    --------
    >>> rows = np.array([[1.0, 0], [1, 3], [2, 2]])
    >>> positions, scores = nearest_rows(np.array([[3.0, 3]]), [rows], 2)
    >>> positions[0].tolist(), scores[0].round(3).tolist()
    ([2, 1], [1.0, 0.894])
    """
    positions: list[Array] = []
    scores: list[Array] = []
    for start in range(0, len(queries), _QUERIES):
        part = np.asarray(queries[start : start + _QUERIES], dtype=np.float32)
        omitted = None if left_out is None else left_out[start : start + _QUERIES]
        near, closeness = _nearest_of_part(part, sources, k, metric, omitted)
        chosen = [at[np.isfinite(close)] for at, close in zip(near, closeness, strict=True)]
        found = nearest_of_candidates(part, sources, chosen, k, metric=metric)
        positions += found[0]
        scores += found[1]
    return positions, scores


def nearest_of_candidates(
    queries: Array,
    sources: Sequence[Any],
    candidates: Sequence[Array],
    k: int,
    *,
    metric: str = "cosine",
    left_out: Sequence[Array] | None = None,
) -> tuple[list[Array], list[Array]]:
    """Find the nearest rows of each query among some; only these are read.

    Parameters
    ----------
    queries, sources, k, metric, left_out
        As for `nearest_rows`.
    candidates : sequence of ndarray of int
        Of each query the positions of the rows to compare.

    Returns
    -------
    positions, scores : list of ndarray
        As of `nearest_rows`.
    """
    positions: list[Array] = []
    scores: list[Array] = []
    width = sum(source.shape[1] for source in sources)
    most = max((len(at) for at in candidates), default=0)
    step = max(1, _BLOCK // max(1, width * most))
    for start in range(0, len(queries), step):
        part = [np.asarray(at, dtype=np.intp) for at in candidates[start : start + step]]
        if left_out is not None:
            own = left_out[start : start + step]
            part = [np.setdiff1d(at, out) for at, out in zip(part, own, strict=True)]
        # The rows that several queries want, and those that lie side by side, are read at once.
        wanted, places = np.unique(np.concatenate(part), return_inverse=True)
        rows, begin = _rows_at(sources, wanted), 0
        for query, at in zip(queries[start : start + step], part, strict=True):
            chosen = rows[places[begin : begin + len(at)]].astype(np.float64)
            begin += len(at)
            exact = _scores(query, chosen, metric)
            best = np.lexsort((at, -exact if metric == "cosine" else exact))[:k]
            positions.append(at[best])
            scores.append(exact[best])
    return positions, scores


def _nearest_of_part(
    queries: Array,
    sources: Sequence[Any],
    k: int,
    metric: str,
    left_out: Sequence[Array] | None,
) -> tuple[Array, Array]:
    """Positions of the k nearest rows of each query in any order, and how near they are."""
    near = np.zeros((len(queries), 0), dtype=np.intp)
    closeness = np.zeros((len(queries), 0), dtype=np.float32)
    for start, rows in _blocks(sources, len(queries)):
        new = _closeness(queries, rows, metric)
        for i, omitted in enumerate(left_out or ()):
            here = omitted[(omitted >= start) & (omitted < start + len(rows))] - start
            new[i, here] = -np.inf
        closeness, near = _largest(
            np.concatenate([closeness, new], axis=1),
            np.concatenate([near, np.broadcast_to(start + np.arange(len(rows)), new.shape)], 1),
            k,
        )
    return near, closeness


def _largest(values: Array, positions: Array, k: int) -> tuple[Array, Array]:
    """The k largest values of each line, in any order, with their positions."""
    if values.shape[1] <= k:
        return values, positions
    best = np.argpartition(values, -k, axis=1)[:, -k:]
    return np.take_along_axis(values, best, axis=1), np.take_along_axis(positions, best, axis=1)


def _blocks(sources: Sequence[Any], n_queries: int) -> Iterator[tuple[int, Array]]:
    """The rows, and the position of each block's first one."""
    width = sum(source.shape[1] for source in sources)
    step = max(1, _BLOCK // max(width, n_queries))
    for start in range(0, len(sources[0]), step):
        yield start, np.concatenate([one[start : start + step] for one in sources], axis=1)


def _closeness(queries: Array, rows: Array, metric: str) -> Array:
    """A number for every query and row that orders the rows: the larger, the nearer."""
    rows = np.asarray(rows, dtype=np.float32)
    squared = np.einsum("ij,ij->i", rows, rows)
    products: Array = queries @ rows.T
    if metric == "cosine":
        products /= np.maximum(np.sqrt(squared), np.finfo(np.float32).tiny)
    else:
        # |a - b|² = |a|² - 2 (ab - |b|² / 2), and |a|² is the same for all rows.
        products -= squared / 2
    return products


def _rows_at(sources: Sequence[Any], positions: Array) -> Array:
    return np.concatenate([one[positions] for one in sources], axis=1)


def _scores(query: Array, rows: Array, metric: str) -> Array:
    """Cosines or distances to some rows, in float64: those of the same row are exact."""
    query = query.astype(np.float64)
    if metric == "euclidean":
        distances: Array = np.linalg.norm(rows - query, axis=1)
        return distances
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    cosines: Array = np.divide(rows @ query, lengths, out=np.zeros(len(rows)), where=lengths > 0)
    return cosines.clip(-1, 1)
