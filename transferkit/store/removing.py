"""Remove leftovers of killed writers, and shards whose rows all stand in other shards.

Nothing here takes a lock. Any number of processes may remove and compact at once. What makes
this safe is one fixed order of shards (`rank`): a shard is only removed when each of its good
rows has a good copy in a shard that comes *later* in that order. So of all shards that ever held
a good copy of a row, the last in the order always stays.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferkit.store.index import KeyIndex
from transferkit.store.places import StorePlace
from transferkit.store.shards import Shard
from transferkit.store.verifying import Checked, check_all

__all__ = [
    "Removed",
    "rank",
    "remove",
    "remove_spare",
    "remove_temporary",
    "spare_shards",
]


@dataclass(frozen=True)
class Removed:
    """A file or folder that garbage collection removed, or would remove.

    Parameters
    ----------
    key : str
        Key concerned.
    path : Path or str
        The file or folder.
    reason : str
        Why it went.
    n_bytes : int
        Its size.
    """

    key: str
    path: Path | str
    reason: str
    n_bytes: int


def rank(checked: Checked) -> tuple[int, int, str]:
    """Sort key of the order: more good rows come later and, among as many, fewer bad rows."""
    n_good = len(np.unique(checked.good_ids))
    return n_good, n_good - checked.shard.n_rows, checked.shard.file_name


def spare_shards(found: list[Checked]) -> list[Checked]:
    """Find shards whose every row, good or bad, has a good copy in a shard later in the order."""
    ranked = sorted(found, key=rank)
    if not ranked:
        return []
    ids = np.concatenate([c.good_ids for c in ranked])
    position = np.repeat(np.arange(len(ranked)), [int(c.good.sum()) for c in ranked])
    # The sort is stable: among equal ids, the one in the last shard of the order comes last.
    by_id = np.argsort(ids, kind="stable")
    ids, position = ids[by_id], position[by_id]
    spare = []
    for place, checked in enumerate(ranked):
        last = np.searchsorted(ids, checked.shard.ids, side="right") - 1
        known = last >= 0
        known[known] = ids[last[known]] == checked.shard.ids[known]
        if known.all() and (position[last] > place).all():
            spare.append(checked)
    return spare


def remove(index: KeyIndex, shard: Shard) -> None:
    """Remove a shard and forget it."""
    shard.place.remove(shard.name)
    index.forget(shard.file_name)


def remove_spare(index: KeyIndex, *, dry_run: bool) -> list[Removed]:
    """Remove shards whose every row has a good copy in another shard that stays.

    Only shards that share an id with another are read.
    """
    snapshot = index.snapshot()
    shared = [snapshot.shards[number] for number in sorted(snapshot.repeated())]
    removed = []
    for checked in spare_shards(check_all(index, shared)):
        shard = checked.shard
        removed.append(
            Removed(index.key, shard.path, "every row stands in another shard", shard.n_bytes)
        )
        if not dry_run:
            remove(index, shard)
    return removed


def remove_temporary(place: StorePlace, key: str, folder: str, *, dry_run: bool) -> list[Removed]:
    """Remove what killed writers left in a folder long ago."""
    removed = []
    for name, n_bytes in place.leftovers(folder):
        removed.append(Removed(key, place.where(name), "temporary file", n_bytes))
        if not dry_run:
            place.remove(name)
    return removed
