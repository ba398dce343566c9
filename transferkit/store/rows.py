"""Read rows in the order of ids, from any shard with a good copy, at once or when indexed."""

import contextlib
import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from transferkit.store import encoding, files, shards
from transferkit.store.index import KeyIndex, Snapshot
from transferkit.store.inputs import id_array
from transferkit.store.places import StorePlace

__all__ = ["CorruptRows", "MissingRows", "StoredRows", "read"]

logger = logging.getLogger(__name__)

# Rows are handed out this many bytes at a time, unless a number of rows is asked for.
_BATCH_BYTES = 64 * 2**20


class MissingRows(LookupError):
    """Some rows that were asked for aren't in the store.

    Parameters
    ----------
    message : str
        What is missing and what to do.
    ids : sequence of bytes
        Ids of the rows, each once, in the order asked.
    """

    def __init__(self, message: str, ids: Sequence[bytes] = ()) -> None:
        super().__init__(message)
        self.ids = tuple(ids)

    def __reduce__(self) -> tuple[type[Self], tuple[str, tuple[bytes, ...]]]:
        return type(self), (str(self), self.ids)


class CorruptRows(MissingRows):
    """Every copy in the store of some rows that were asked for is damaged.

    From then on they count as missing: `FeatureStore.missing` returns them, and once they
    are computed and written again the damaged copies are no longer looked at.
    """


class _OtherShape(MissingRows):
    """The shape of most rows of the key has changed since they were looked up."""


class StoredRows:
    """Rows in the order of some ids, which stay in the shards until they are asked for.

    It can be indexed as an array's first axis is. Every row is checked against its CRC-32
    each time it is read, and what comes back is a new array of those rows alone. NumPy and
    scikit-learn read all of them, once and into one array.

    Parameters
    ----------
    index : KeyIndex
        The rows that are there.
    ids : sequence of bytes
        Row ids of 16 bytes; an id may stand several times.

    Attributes
    ----------
    ids : tuple of bytes
        The row ids.
    shape : tuple of int
        ``(len(ids), ...)``; ``(0, 0)`` if no rows were asked for and none are there.
    dtype : numpy.dtype
        The storage type; float32 where that is int8.

    Raises
    ------
    MissingRows
        If a row isn't there.
    CorruptRows
        If every copy of a row is damaged. A row that is found to be so later raises when it is
        read, and the others can still be read.

    Notes
    -----
    No file is held open, so threads, forked processes and copies may read at the same time.
    A copy by pickling takes the ids along, and finds the shards again.

    Examples
    --------
    >>> import tempfile
    >>> from transferkit.spec import FeatureSpec, Preprocess
    >>> from transferkit.store import FeatureStore
    >>> preprocess = Preprocess((224, 224), "bicubic", 0.875, "center", (0.5,) * 3, (0.5,) * 3)
    >>> spec = FeatureSpec("timm:resnet18", "{}", "random:0", preprocess, "pre_logits")
    >>> ids = [bytes([i]) * 16 for i in range(3)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = FeatureStore(folder)
    ...     _ = store.write(spec, ids, np.eye(3))
    ...     rows = store.open(spec, ids)
    ...     print(rows.shape, rows[1], rows[[2, 0]].tolist(), np.asarray(rows).trace())
    (3, 3) [0. 1. 0.] [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]] 3.0
    """

    def __init__(self, index: KeyIndex, ids: Sequence[bytes]) -> None:
        self.ids = tuple(ids)
        self.dtype = encoding.VALUE_TYPES[index.storage]
        self._index = index
        self._query = id_array(self.ids)
        snapshot = index.snapshot()
        self._located: tuple[Snapshot, NDArray[np.intp]] | None
        self._located = snapshot, snapshot.find(self._query)
        row_shape = snapshot.row_shape
        self.shape = (len(self.ids), *((0,) if row_shape is None else row_shape))
        self._lookup(np.arange(len(self.ids)))

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"

    def __reduce__(self) -> tuple[Any, ...]:
        index = self._index
        return _reopened, (index.place, index.key, index.storage, self.ids)

    @property
    def ndim(self) -> int:
        """Number of axes, that of the rows among them."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows once they are read."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, key: Any) -> NDArray[Any]:
        positions = self._positions(key)
        return self._take(positions) if np.ndim(positions) else self._take(positions[None])[0]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for batch in self.batches():
            yield from batch

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("rows in a store can't become an array without being copied")
        return self._take(np.arange(len(self)), dtype)

    def select(self, positions: ArrayLike) -> Self:
        """Select some of the rows. These too stay in the shards until they are indexed.

        Parameters
        ----------
        positions : array of int, or of bool
            Which, in the order wanted.
        """
        chosen = np.atleast_1d(self._positions(np.asarray(positions)))
        return type(self)(self._index, [self.ids[i] for i in chosen.tolist()])

    def batches(self, size: int | None = None) -> Iterator[NDArray[Any]]:
        """Yield all rows in their order, a batch at a time.

        Parameters
        ----------
        size : int, optional
            Rows at a time; by default as many as 64 MB hold, and one at least.

        Yields
        ------
        array of shape (n, ...)
            The next rows; of the last batch there may be fewer.
        """
        row_bytes = self.nbytes // max(1, len(self))
        step = max(1, _BATCH_BYTES // max(1, row_bytes)) if size is None else size
        for start in range(0, len(self), step):
            yield self[start : start + step]

    def _positions(self, key: Any) -> Any:
        """Positions that an index along the rows stands for, in one dimension or none."""
        # scikit-learn writes `rows[key, ...]`.
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]
        if isinstance(key, slice):  # nothing is done for the other rows, which may be millions
            return np.arange(*key.indices(len(self)))
        positions = np.arange(len(self))[key]
        if np.ndim(positions) > 1:
            raise IndexError(
                f"rows in a store are chosen by one index along them, not by {key!r}; read them "
                "first, and choose from the array"
            )
        return positions

    def _take(self, positions: NDArray[np.intp], dtype: DTypeLike | None = None) -> NDArray[Any]:
        """Read rows into an array of their own, from whichever shard has a good copy."""
        kind = self.dtype if dtype is None else np.dtype(dtype)
        out = files.allocate((len(positions), *self.shape[1:]), kind)
        pending = np.arange(len(positions))
        while len(pending):
            snapshot, where = self._lookup(positions[pending])
            pending = np.sort(_fill(self._index, snapshot, where, out, pending))
            if len(pending):
                # Damaged rows are marked by now, and shards that a compaction took away are
                # replaced by their successors: every round has fewer places to look at.
                self._located = None
        return out

    def _lookup(self, positions: NDArray[np.intp]) -> tuple[Snapshot, NDArray[np.intp]]:
        """Return the key's rows as they stand, and where in them each row is.

        The folder is listed again only if a row wasn't where it should be.
        """
        located = self._located
        if located is None or (located[1][positions] < 0).any():
            snapshot = self._index.snapshot()
            # One assignment: other threads may be reading.
            self._located = located = snapshot, snapshot.find(self._query)
        snapshot, where = located[0], located[1][positions]
        if (where < 0).any():
            raise _lookup_error(
                self._index, snapshot, [self.ids[i] for i in positions.tolist()], where
            )
        if len(positions) and snapshot.row_shape != self.shape[1:]:
            raise _OtherShape(
                f"the rows in {self._index.path} have shape {snapshot.row_shape} by now, and "
                f"had {self.shape[1:]}; open them again",
                self.ids,
            )
        return snapshot, where


def _reopened(place: StorePlace, key: str, storage: str, ids: tuple[bytes, ...]) -> StoredRows:
    return StoredRows(KeyIndex(place, key=key, storage=storage), ids)


def read(index: KeyIndex, ids: Sequence[bytes]) -> NDArray[Any]:
    """Read rows in the order of the ids, and check each one; see `FeatureStore.read`."""
    while True:
        with contextlib.suppress(_OtherShape):
            return StoredRows(index, ids)[:]


def _fill(
    index: KeyIndex,
    snapshot: Snapshot,
    where: NDArray[np.intp],
    out: NDArray[Any],
    places: NDArray[np.intp],
) -> NDArray[np.intp]:
    """Read rows into their places, shard by shard; return the places that are still empty."""
    numbers, rows = snapshot.shard[where], snapshot.row[where]
    order = np.lexsort((rows, numbers))
    cuts = np.flatnonzero(np.diff(numbers[order])) + 1
    parts = np.split(order, cuts) if len(order) else []

    def gathered(part: NDArray[np.intp]) -> NDArray[np.intp]:
        shard = snapshot.shards[numbers[part[0]]]
        try:
            good = shards.gather(shard, rows[part], out, places[part])
        except FileNotFoundError:
            index.forget(shard.file_name)
            return places[part]
        except OSError as error:
            logger.warning("shard %s can't be read: %s", shard.path, error)
            good = np.zeros(len(part), np.bool_)
        if not good.all():
            index.mark(shard, np.unique(rows[part][~good]))
        return places[part][~good]

    return np.concatenate([np.empty(0, np.intp), *index.place.each(gathered, parts)])


def _lookup_error(
    index: KeyIndex, snapshot: Snapshot, ids: Sequence[bytes], where: NDArray[np.intp]
) -> MissingRows:
    """Make the error for ids without a good row, which are damaged or missing."""
    absent = list(dict.fromkeys(ids[i] for i in np.flatnonzero(where < 0).tolist()))
    wanted = id_array(absent)
    found_in = {name: np.isin(wanted, bad) for name, bad in snapshot.bad.items()}
    is_bad = np.logical_or.reduce([np.zeros(len(wanted), np.bool_), *found_in.values()])
    todo = "compute and write those that missing() returns"
    if not is_bad.any():
        why = f"; unreadable: {_joined(list(snapshot.unreadable))}" if snapshot.unreadable else ""
        return MissingRows(
            f"{len(absent)} of the rows asked for aren't in {index.path}{why}; {todo}", absent
        )
    names = _joined([name for name, hit in found_in.items() if hit.any()])
    damaged = [i for i, bad in zip(absent, is_bad.tolist(), strict=True) if bad]
    others = f" and {len(absent) - len(damaged)} aren't there" if len(absent) > len(damaged) else ""
    return CorruptRows(
        f"{len(damaged)} of the rows asked for are damaged in {index.path}: {names}{others}; "
        f"{todo}",
        damaged,
    )


def _joined(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f", … ({len(names)} in all)" if len(names) > 5 else "")
