"""Rows of features that are read when they are asked for, so that they needn't fit into memory.

A source of rows is anything with a shape, a NumPy dtype, a length, and rows that are indexed as an
array's are, such as rows in a store or a data set in an HDF5 file. `UnreadRows` are rows of one
or several sources. They are selected and joined without being read; `row_blocks` reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = [
    "RowsSideBySide",
    "UnreadRows",
    "by_blocks",
    "chosen_rows",
    "is_unread",
    "joined_rows",
    "row_blocks",
]

Array = NDArray[Any]
# Numbers of a block, 8 MB in float32: few beside any matrix that is worth streaming, and enough
# for the reading of a block to cost little more than its bytes.
BLOCK = 2**21
# Numbers that are predicted from at once, 64 MB in float32.
PREDICTED = 2**24


def is_unread(X: Any) -> bool:
    """Whether these are rows to be read when they are asked for, and no array yet.

    Parameters
    ----------
    X : object
        Features, as anybody may give them.

    Examples
    --------
    >>> is_unread(np.eye(3)), is_unread(UnreadRows([(np.eye(3), None)])), is_unread([[1.0]])
    (False, True, False)
    """
    return (
        not isinstance(X, np.ndarray)
        and isinstance(getattr(X, "dtype", None), np.dtype)
        and len(getattr(X, "shape", ())) > 1
        # Sparse matrices have no __array__: they would be read as another kind of thing.
        and all(hasattr(X, name) for name in ("__len__", "__getitem__", "__array__"))
    )


class UnreadRows:
    """Rows of one or several sources, one source after the other.

    Parameters
    ----------
    parts : sequence of (source, ndarray of int or None)
        Sources of rows of the same width, and the rows of each that count (None: all).
    dtype : dtype, optional
        What rows become when they are read; by default what holds the sources' types.

    Attributes
    ----------
    shape : tuple of int
        As of an array; so are `dtype`, `ndim` and `nbytes`.

    Examples
    --------
    >>> rows = UnreadRows([(np.eye(3), None), (np.ones((2, 3)), np.array([1]))])
    >>> rows.shape, rows[2:].tolist()
    ((4, 3), [[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    """

    def __init__(
        self, parts: Sequence[tuple[Any, Array | None]], dtype: DTypeLike | None = None
    ) -> None:
        widths = {tuple(source.shape[1:]) for source, _ in parts}
        if len(widths) != 1:
            raise ValueError(f"rows of the shapes {sorted(widths)} can't follow one another")
        self.parts = list(parts)
        sizes = [len(source if at is None else at) for source, at in parts]
        self._edges = np.cumsum([0, *sizes])
        self.shape: tuple[int, ...] = (int(self._edges[-1]), *widths.pop())
        given = np.result_type(*(source.dtype for source, _ in parts))
        self.dtype: np.dtype[Any] = given if dtype is None else np.dtype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"

    @property
    def ndim(self) -> int:
        """Number of axes, that of the rows among them."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows once they are read."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, key: Any) -> Array:
        positions = _positions(key, len(self))
        read = self._read(np.atleast_1d(positions))
        return read if np.ndim(positions) else np.asarray(read[0])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("unread rows can't become an array without being copied")
        read: Array = self._read(np.arange(len(self)))
        return read if dtype is None else read.astype(dtype, copy=False)

    def select(self, positions: Any) -> UnreadRows:
        """Select some of the rows, in the order wanted; these aren't read either.

        Parameters
        ----------
        positions : array of int, or of bool
            Which; of several sources each source's together, as they stand.
        """
        at = np.atleast_1d(_positions(np.asarray(positions), len(self)))
        source_of = np.searchsorted(self._edges, at, side="right") - 1
        cuts = np.flatnonzero(np.diff(source_of)) + 1
        parts = []
        for run in np.split(np.arange(len(at)), cuts):
            number = int(source_of[run[0]]) if len(run) else 0
            source, own = self.parts[number]
            local = at[run] - self._edges[number]
            parts.append((source, local if own is None else own[local]))
        return UnreadRows(parts, self.dtype)

    def _read(self, positions: Array) -> Array:
        read = np.empty((len(positions), *self.shape[1:]), self.dtype)
        source_of = np.searchsorted(self._edges, positions, side="right") - 1
        for number in np.unique(source_of):
            source, own = self.parts[number]
            places = np.flatnonzero(source_of == number)
            local = positions[places] - self._edges[number]
            read[places] = _taken(source, local if own is None else own[local])
        return read


class RowsSideBySide:
    """Rows of several sources as one, those of each source beside those of the one before.

    Parameters
    ----------
    sources : sequence of source
        Equally many rows of one axis each.

    Attributes
    ----------
    shape, dtype, ndim, nbytes
        As of an array.

    Examples
    --------
    >>> RowsSideBySide([np.eye(2), np.ones((2, 1))])[1:].tolist()
    [[0.0, 1.0, 1.0]]
    """

    def __init__(self, sources: Sequence[Any]) -> None:
        self.sources = list(sources)
        self.shape: tuple[int, int] = (len(sources[0]), sum(source.shape[1] for source in sources))
        self.dtype: np.dtype[Any] = np.result_type(*(source.dtype for source in sources))
        self.ndim = 2
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        return np.concatenate([source[key] for source in self.sources], axis=-1)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("unread rows can't become an array without being copied")
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)


def _taken(source: Any, at: Array) -> Array:
    """Rows of a source; those that stand behind one another by a slice, which any source knows."""
    if len(at) and at[-1] - at[0] == len(at) - 1 and (np.diff(at) == 1).all():
        return np.asarray(source[int(at[0]) : int(at[-1]) + 1])
    return np.asarray(source[at])


def _positions(key: Any, n: int) -> Any:
    """Positions that an index along the rows stands for, in one dimension or none."""
    # scikit-learn writes `rows[key, ...]`.
    if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
        key = key[0]
    if isinstance(key, slice):
        return np.arange(*key.indices(n))
    positions = np.arange(n)[key]
    if np.ndim(positions) > 1:
        raise IndexError(f"unread rows are chosen by one index along them, not by {key!r}")
    return positions


def chosen_rows(X: Any, positions: Any) -> Any:
    """Rows of an array, or of unread rows, which aren't read.

    Parameters
    ----------
    X : ndarray or unread rows
        Features.
    positions : slice, array of int or of bool
        Which, in the order wanted. A slice of an array copies nothing.
    """
    if not is_unread(X):
        return X[positions]
    if isinstance(positions, slice) and positions == slice(None):
        return X
    rows = X if hasattr(X, "select") else UnreadRows([(X, None)])
    return rows.select(np.arange(len(X))[positions])


def joined_rows(first: Any, second: Any) -> Any:
    """Both features' rows, one after the other; those of the store stay there.

    Parameters
    ----------
    first, second : ndarray or unread rows
        Features.
    """
    if is_unread(first) or is_unread(second):
        return UnreadRows([(first, None), (second, None)])
    return np.concatenate([first, second])


def row_blocks(X: Any, n_numbers: int | None = None) -> Iterator[tuple[slice, Array]]:
    """Read rows block by block.

    Parameters
    ----------
    X : ndarray or unread rows
        Features.
    n_numbers : int, optional
        Numbers of a block, of 16 rows at least; by default those of 8 MB in float32.

    Yields
    ------
    (slice, ndarray)
        Which rows they are, and the rows.
    """
    step = max(16, (n_numbers or BLOCK) // max(1, math.prod(X.shape[1:])))
    for first in range(0, len(X), step):
        part = slice(first, min(first + step, len(X)))
        yield part, np.asarray(X[part])


def by_blocks(function: Callable[[Any], Array], X: Any) -> Array:
    """What a function returns for rows, each of them by itself, a block of rows at a time.

    Parameters
    ----------
    function : callable
        Rows → as many results.
    X : array-like or unread rows
        Features.

    Examples
    --------
    >>> by_blocks(lambda rows: rows.sum(axis=1), UnreadRows([(np.eye(3), None)])).tolist()
    [1.0, 1.0, 1.0]
    """
    if not (is_unread(X) or isinstance(X, np.ndarray)) or math.prod(X.shape) <= PREDICTED:
        return function(X[0 : len(X)] if is_unread(X) else X)
    return np.concatenate([function(block) for _, block in row_blocks(X, PREDICTED)])
