"""The pure parts of the knn head: nearest rows, their weights. Arrays in, arrays out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "nearest", "vote_weights"]

Array = NDArray[Any]
BLOCK = 2**24  # numbers of the largest array held at once: 64 MB in float32


def nearest(queries: Array, rows: Array, k: int, step: int) -> Iterator[tuple[slice, Array, Array]]:
    """Find the k nearest rows of each query, a block of queries at a time.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, n_features)
        What to look for.
    rows : ndarray of shape (n_rows, n_features)
        Where to look.
    k : int
        At most n_rows.
    step : int
        Queries of a block; a block takes step × n_rows numbers.

    Yields
    ------
    (slice, ndarray, ndarray)
        The queries of the block; the positions of their nearest rows and the squared
        distances, both of shape (n_block, k), nearest first.
    """
    lengths = np.einsum("ij,ij->i", rows, rows)
    for first in range(0, len(queries), step):
        part = slice(first, min(first + step, len(queries)))
        block = queries[part]
        # |a - b|² = |a|² - 2ab + |b|²
        squared = block @ rows.T
        squared *= -2
        squared += lengths
        index = np.argpartition(squared, k - 1, axis=1)[:, :k]
        found = np.take_along_axis(squared, index, axis=1)
        found = found + np.einsum("ij,ij->i", block, block)[:, None]
        order = np.lexsort((index, found), axis=1)
        yield (
            part,
            np.take_along_axis(index, order, axis=1),
            np.maximum(np.take_along_axis(found, order, axis=1), 0),
        )


def vote_weights(squared: Array, weights: str, temperature: float) -> Array:
    """Weights of the neighbours' votes; each row sums to 1.

    Parameters
    ----------
    squared : ndarray of shape (n_queries, k)
        Squared distances, nearest first.
    weights : {"softmax", "distance", "uniform"}
        Softmax of ``-distance² / (2 temperature)``, which for rows of length 1 is the
        softmax of ``cosine / temperature``; one over the distance; or all the same.
    temperature : float
        Of the softmax.
    """
    if weights == "softmax":
        votes = np.exp((squared[:, :1] - squared) / (2 * temperature))
    elif weights == "distance":
        distance = np.sqrt(squared)
        # Rows that are the query itself decide alone.
        same = distance == 0
        votes = np.where(same.any(axis=1, keepdims=True), same, 1 / np.where(same, 1, distance))
    else:
        votes = np.ones_like(squared)
    share: Array = votes / votes.sum(axis=1, keepdims=True)
    return share.astype(squared.dtype, copy=False)
