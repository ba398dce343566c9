"""Copy another store's rows, even while other processes write to that store."""

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from transferkit.spec import FeatureSpec
from transferkit.store import encoding, shards
from transferkit.store.index import KeyIndex
from transferkit.store.shards import BadShard, Shard
from transferkit.store.verifying import Fault

if TYPE_CHECKING:
    from transferkit.store.directory import FeatureStore

__all__ = ["Merged", "merge_key"]

logger = logging.getLogger(__name__)

# How many times the other store is read again, because new rows appeared in it.
_ROUNDS = 20


@dataclass(frozen=True)
class Merged:
    """The result of merging one key of another store.

    Parameters
    ----------
    key : str
        The key.
    n_rows : int
        Rows that are new here.
    n_known : int
        Rows that stood here already.
    faults : tuple of Fault
        Damage in the other store; those rows were not taken.
    n_left : int, default=0
        Shards that came while the others were taken, and weren't looked at any more: the
        other store is being written to, and merging again takes them.
    """

    key: str
    n_rows: int
    n_known: int
    faults: tuple[Fault, ...]
    n_left: int = 0


@dataclass
class _Count:
    """Rows taken so far, and the faults of the other store."""

    taken: set[bytes] = field(default_factory=set)
    known: set[bytes] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)


def merge_key(store: "FeatureStore", spec: FeatureSpec, index: KeyIndex) -> Merged:
    """Verify another store's shards and write what is missing here, shard by shard.

    The other store is looked at until nothing new is in it: while shards are read, writers
    add others, and a compaction takes some away and has their rows elsewhere.

    Parameters
    ----------
    store : FeatureStore
        Where the rows go.
    spec : FeatureSpec
        What they are.
    index : KeyIndex
        The other store's shards of that spec.
    """
    count = _Count()
    seen: set[str] = set()
    new: list[Shard] = []
    for _ in range(_ROUNDS):
        new = [shard for shard in index.snapshot().shards if shard.name not in seen]
        if not new:
            break
        for shard in new:
            seen.add(shard.name)
            try:
                _take(store, spec, shard, count)
            except FileNotFoundError:
                index.forget(shard.file_name)  # its rows are elsewhere now
    snapshot = index.snapshot()
    left = [shard for shard in snapshot.shards if shard.name not in seen]
    count.faults += [
        Fault(spec.key, index.place.where(f"{index.folder}/{name}"), f"unreadable: {reason}")
        for name, reason in snapshot.unreadable.items()
    ]
    n_rows, n_known = len(count.taken), len(count.known)
    logger.info(
        "merged %s: %s rows are new, %s were known", spec.key, f"{n_rows:,}", f"{n_known:,}"
    )
    return Merged(spec.key, n_rows, n_known, tuple(count.faults), len(left))


def _take(store: "FeatureStore", spec: FeatureSpec, shard: Shard, count: _Count) -> None:
    """Take one shard's good rows that are missing here, and note its bad rows as faults."""
    try:
        good = shards.intact(shard)
        ids = shards.raw_ids(shard.ids)
        wanted = set(store.missing(spec, [ids[n] for n in np.flatnonzero(good).tolist()]))
        numbers = _firsts(ids, good, wanted)
        rows = np.empty(len(numbers), shard.row_type)
        # The rows are read a second time here, and so checked a second time.
        whole = shards.gather(shard, numbers, rows, np.arange(len(numbers)))
    except FileNotFoundError:
        raise
    except (OSError, BadShard, MemoryError) as error:
        count.faults.append(Fault(spec.key, shard.path, f"unreadable: {error}"))
        return
    good[numbers[~whole]] = False
    finite = encoding.are_finite(rows)
    _note(count, spec, shard, ~good, "don't match their checksum")
    is_odd = np.zeros(shard.n_rows, np.bool_)
    is_odd[numbers[whole & ~finite]] = True
    _note(count, spec, shard, is_odd, "hold values that aren't finite")
    count.known |= {ids[n] for n in np.flatnonzero(good).tolist()} - wanted - count.taken
    new = [ids[n] for n in numbers[whole & finite].tolist()]
    if not new:
        return
    shape = store.row_shape(spec)
    if shape not in (None, shard.row_shape):
        reason = f"its rows have shape {shard.row_shape}, those that are here {shape}"
        count.faults.append(Fault(spec.key, shard.path, reason))
        return
    store.write(spec, new, rows[whole & finite], provenance=shard.metadata)
    count.taken.update(new)


def _firsts(ids: list[bytes], good: NDArray[np.bool_], wanted: set[bytes]) -> NDArray[np.intp]:
    """Number of the first good row of each wanted id. A shard may repeat an id."""
    first: dict[bytes, int] = {}
    for n in np.flatnonzero(good).tolist():
        if ids[n] in wanted:
            first.setdefault(ids[n], n)
    return np.array(sorted(first.values()), np.intp)


def _note(
    count: _Count, spec: FeatureSpec, shard: Shard, bad: NDArray[np.bool_], what: str
) -> None:
    """Record bad rows of a shard as a fault."""
    if bad.any():
        reason = f"{int(bad.sum())} of {shard.n_rows} rows {what}"
        ids = tuple(shards.raw_ids(shard.ids[bad]))
        count.faults.append(Fault(spec.key, shard.path, reason, ids))
