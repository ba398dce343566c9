"""Find nearest rows by exact search, and weigh their votes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "nearest", "nearest_faiss", "vote_weights"]

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
    import torch  # late: the list of heads shouldn't wait for it

    columns = torch.from_numpy(np.ascontiguousarray(rows)).T
    half = columns.square().sum(dim=0) / 2
    for first in range(0, len(queries), step):
        part = slice(first, min(first + step, len(queries)))
        block = torch.from_numpy(np.ascontiguousarray(queries[part]))
        # |a - b|² = |a|² - 2 (ab - |b|² / 2)
        near, index = torch.addmm(half, block, columns, beta=-1).topk(k, dim=1, sorted=False)
        squared = block.square().sum(dim=1, keepdim=True) - 2 * near
        yield part, *_ordered(index.numpy(), squared.numpy())


def nearest_faiss(
    queries: Array, rows: Array, k: int, step: int
) -> Iterator[tuple[slice, Array, Array]]:
    """Do as `nearest` by faiss's flat index, in float32.

    Raises
    ------
    ImportError
        If faiss isn't installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "search is 'faiss', which isn't installed; pip install 'transferkit[faiss]', or give "
            "search='exact'"
        ) from error
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(np.ascontiguousarray(rows, dtype=np.float32))
    for first in range(0, len(queries), step):
        part = slice(first, min(first + step, len(queries)))
        squared, positions = index.search(np.ascontiguousarray(queries[part], dtype=np.float32), k)
        yield part, *_ordered(positions, squared)


def _ordered(index: Array, squared: Array) -> tuple[Array, Array]:
    """Sort the nearest first, and of equally near rows the first row first."""
    order = np.lexsort((index, squared), axis=1)
    nearest_squared = np.take_along_axis(squared, order, axis=1)
    return np.take_along_axis(index, order, axis=1), np.maximum(nearest_squared, 0)


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
        # Rows at distance 0 from the query decide alone.
        same = distance == 0
        votes = np.where(same.any(axis=1, keepdims=True), same, 1 / np.where(same, 1, distance))
    else:
        votes = np.ones_like(squared)
    share: Array = votes / votes.sum(axis=1, keepdims=True)
    return share.astype(squared.dtype, copy=False)
