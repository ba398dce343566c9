"""Rows in the order asked, from whichever shard has a good copy."""

import logging
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from transferkit.store import files, shards
from transferkit.store.index import KeyIndex, Snapshot
from transferkit.store.inputs import id_array

__all__ = ["CorruptRows", "MissingRows", "read"]

logger = logging.getLogger(__name__)


class MissingRows(LookupError):
    """Rows were asked for that aren't in the store.

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
    """Rows were asked for of which every copy in the store is damaged.

    From then on they count as missing: `FeatureStore.missing` returns them, and once they
    are computed and written again the damaged copies are no longer looked at.
    """


def read(index: KeyIndex, ids: Sequence[bytes]) -> NDArray[Any]:
    """Rows in the order asked, each checked; see `FeatureStore.read`."""
    query = id_array(ids)
    snapshot = index.snapshot()
    where = snapshot.find(query)
    if (where < 0).any():
        raise _lookup_error(index, snapshot, ids, where)
    shape = (0,) if snapshot.row_shape is None else snapshot.row_shape
    out = files.allocate((len(ids), *shape), np.dtype(index.storage))
    pending = np.arange(len(ids))
    while True:
        pending = _fill(index, snapshot, where[pending], out, pending)
        if not len(pending):
            return out
        # Damaged rows are marked by now, and shards that a compaction took away are
        # replaced by their successors: every round has fewer places to look at.
        snapshot = index.snapshot()
        where[pending] = snapshot.find(query[pending])
        if (where[pending] < 0).any():
            raise _lookup_error(index, snapshot, ids, where)
        if snapshot.row_shape != shape:
            return read(index, ids)


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
    empty = [np.empty(0, np.intp)]
    for part in np.split(order, cuts) if len(order) else []:
        shard = snapshot.shards[numbers[part[0]]]
        try:
            good = shards.gather(shard, rows[part], out, places[part])
        except FileNotFoundError:
            index.forget(shard.path.name)
            empty.append(places[part])
            continue
        except OSError as error:
            logger.warning("shard %s can't be read: %s", shard.path, error)
            good = np.zeros(len(part), np.bool_)
        if not good.all():
            index.mark(shard, np.unique(rows[part][~good]))
            empty.append(places[part][~good])
    return np.concatenate(empty)


def _lookup_error(
    index: KeyIndex, snapshot: Snapshot, ids: Sequence[bytes], where: NDArray[np.intp]
) -> MissingRows:
    """Error for ids without a good row: damaged, or not there at all."""
    absent = list(dict.fromkeys(ids[i] for i in np.flatnonzero(where < 0).tolist()))
    given = id_array(absent)
    found_in = {name: np.isin(given, bad) for name, bad in snapshot.bad.items()}
    is_bad = np.logical_or.reduce([np.zeros(len(given), np.bool_), *found_in.values()])
    todo = "compute and write those that missing() returns"
    if not is_bad.any():
        why = f"; unreadable: {_shown(list(snapshot.unreadable))}" if snapshot.unreadable else ""
        return MissingRows(
            f"{len(absent)} of the rows asked for aren't in {index.folder}{why}; {todo}", absent
        )
    names = _shown([name for name, hit in found_in.items() if hit.any()])
    damaged = [i for i, bad in zip(absent, is_bad.tolist(), strict=True) if bad]
    others = f" and {len(absent) - len(damaged)} aren't there" if len(absent) > len(damaged) else ""
    return CorruptRows(
        f"{len(damaged)} of the rows asked for are damaged in {index.folder}: {names}{others}; "
        f"{todo}",
        damaged,
    )


def _shown(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f", … ({len(names)} in all)" if len(names) > 5 else "")
