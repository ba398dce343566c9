"""Find nearest rows by exact search, and weigh their votes."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "exact", "faiss_flat", "nearest", "vote_weights"]

Array = NDArray[Any]
Search = Callable[[Array, Array, int], tuple[Array, Array]]
BLOCK = 2**24  # numbers of the largest array held at once: 64 MB in float32


def nearest(
    queries: Array, blocks: Iterable[tuple[slice, Array]], k: int, search: Search
) -> tuple[Array, Array]:
    """Find the k nearest rows of each query, going once through the rows.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, n_features)
        What to look for.
    blocks : iterable of (slice, ndarray)
        Where to look: which rows, and the rows, of the type of the queries. One block may hold
        all of them.
    k : int
        At most as many as there are rows.
    search : callable
        `exact` or `faiss_flat`: queries, rows, k → the nearest rows of one block.

    Returns
    -------
    (ndarray, ndarray)
        The positions of the nearest rows and the squared distances, both of shape
        (n_queries, k), nearest first; of equally near rows the first comes first.
    """
    index = np.empty((len(queries), 0), np.intp)
    squared = np.empty((len(queries), 0), queries.dtype)
    for part, rows in blocks:
        found, distance = search(queries, rows, min(k, len(rows)))
        index = np.concatenate([index, found + part.start], axis=1)
        squared = np.concatenate([squared, distance], axis=1)
        order = np.lexsort((index, squared), axis=1)[:, :k]
        index = np.take_along_axis(index, order, axis=1)
        squared = np.take_along_axis(squared, order, axis=1)
    return index, np.maximum(squared, 0)


def exact(queries: Array, rows: Array, k: int) -> tuple[Array, Array]:
    """Search by matrix products, of a few queries at once; see `nearest`."""
    import torch  # late: the list of heads shouldn't wait for it

    columns = torch.from_numpy(np.ascontiguousarray(rows)).T
    half = columns.square().sum(dim=0) / 2
    index = np.empty((len(queries), k), np.intp)
    squared = np.empty((len(queries), k), queries.dtype)
    step = max(1, BLOCK // len(rows))
    for first in range(0, len(queries), step):
        part = slice(first, min(first + step, len(queries)))
        block = torch.from_numpy(np.ascontiguousarray(queries[part]))
        # |a - b|² = |a|² - 2 (ab - |b|² / 2)
        near, found = torch.addmm(half, block, columns, beta=-1).topk(k, dim=1, sorted=False)
        index[part] = found.numpy()
        squared[part] = (block.square().sum(dim=1, keepdim=True) - 2 * near).numpy()
    return index, squared


def faiss_flat(queries: Array, rows: Array, k: int) -> tuple[Array, Array]:
    """Search by faiss's flat index, in float32; see `nearest`.

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
    flat = faiss.IndexFlatL2(rows.shape[1])
    flat.add(np.ascontiguousarray(rows, dtype=np.float32))
    squared, index = flat.search(np.ascontiguousarray(queries, dtype=np.float32), k)
    return index, squared


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
