"""Blocks of images that belong together, because they have the same bytes or the same group.

Images of one block never stand on both sides of a split.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["blocks_of", "contradictions", "is_unseen"]

Array = NDArray[Any]


def is_unseen(values: Sequence[Hashable], seen: Collection[Hashable]) -> Array:
    """Tell for each image whether neither its bytes nor its group were trained on.

    Parameters
    ----------
    values, seen : collection
        Row ids of the images and of those that were trained on; or their groups, of which
        None and an empty text are no group.

    Examples
    --------
    >>> is_unseen([b"a", b"b"], [b"b", b"c"]).tolist()
    [True, False]
    """
    known = set(seen)
    return np.array([_is_empty(value) or value not in known for value in values], dtype=bool)


def contradictions(ids: Sequence[bytes], labels: Sequence[Any]) -> list[tuple[int, int]]:
    """Find images with the same bytes as an earlier image, but another label."""
    first: dict[bytes, int] = {}
    pairs = [(first.setdefault(row, i), i) for i, row in enumerate(ids)]
    return [(j, i) for j, i in pairs if labels[j] != labels[i]]


def blocks_of(
    ids: Sequence[bytes] | None, groups: Sequence[Hashable] | None = None
) -> Array | None:
    """Number the blocks: images of the same bytes, or of the same group, get the same number.

    Parameters
    ----------
    ids : sequence of bytes or None
        Row ids.
    groups : sequence or None
        Group of each image; None or an empty text for an image that is alone.

    Returns
    -------
    ndarray of int, or None
        None if every image is a block of its own.

    Examples
    --------
    >>> blocks_of([b"a", b"b", b"c", b"a"], ["x", "y", "y", None]).tolist()
    [0, 1, 1, 0]
    >>> blocks_of([b"a", b"b"]) is None
    True
    """
    kinds = [kind for kind in (ids, groups) if kind is not None]
    if not kinds:
        return None
    n = len(kinds[0])
    # Blocks are the components of a graph in which each image is joined to a node for its bytes and
    # to a node for its group.
    node: dict[Any, int] = {}
    edges = [
        (i, n + node.setdefault((number, value), len(node)))
        for number, kind in enumerate(kinds)
        for i, value in enumerate(kind)
        if not _is_empty(value)
    ]
    size = n + len(node)
    ends = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges), np.int8), (ends[0], ends[1])), shape=(size, size))
    component = connected_components(graph, directed=False)[1][:n]
    _, first, blocks = np.unique(component, return_index=True, return_inverse=True)
    if len(first) == n:
        return None
    return np.asarray(np.argsort(np.argsort(first))[blocks])  # numbered as they come


def _is_empty(value: Any) -> bool:
    """Whether a value stands for no group: None, NaN or an empty text."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())
