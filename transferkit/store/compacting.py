"""Merge a key's small shards, and leave damaged rows behind.

Nothing here takes a lock either; `transferkit.store.removing` says why no good row is lost.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transferkit.store import files, shards
from transferkit.store.certificates import PROVENANCE_NAMES, best
from transferkit.store.index import KeyIndex
from transferkit.store.removing import rank, remove, spare_shards
from transferkit.store.shards import BadShard, Shard
from transferkit.store.verifying import Checked, check_all

__all__ = ["Compaction", "compact"]

logger = logging.getLogger(__name__)

# Shards are merged up to this size. A shard larger than half of it is left as it is.
TARGET_BYTES = 1 << 28
ATTEMPTS = 5
DATE_RANGE = " … "


@dataclass(frozen=True)
class Compaction:
    """Several shards of a key that were merged into one.

    Parameters
    ----------
    key : str
        Key concerned.
    sources : tuple of Path or str
        Shards that went.
    merged : Path or str, or None
        Shard that holds their good rows; None if there was none.
    n_rows : int
        Its number of rows.
    n_dropped : int
        Number of damaged rows left behind.
    """

    key: str
    sources: tuple[Path | str, ...]
    merged: Path | str | None
    n_rows: int
    n_dropped: int


def compact(index: KeyIndex) -> list[Compaction]:
    """Merge a key's small shards, and rewrite those with damaged rows without them."""
    done: list[Compaction] = []
    for attempt in range(ATTEMPTS):
        try:
            for one in _compactions(index):
                done.append(one)
            break
        except (FileNotFoundError, BadShard):
            # Another compaction took a shard away, or it was damaged just now: look again.
            if attempt == ATTEMPTS - 1:
                raise
    if done:
        index.remove_catalogue()
    return done


def _compactions(index: KeyIndex) -> Iterator[Compaction]:
    found = check_all(index, index.snapshot().shards)
    spare = spare_shards(found)
    for c in spare:
        remove(index, c.shard)
    gone = {c.shard.name for c in spare}
    todo = [
        c
        for c in found
        if c.shard.name not in gone and (c.shard.n_bytes < TARGET_BYTES // 2 or not c.good.all())
    ]
    todo.sort(key=lambda c: (_kind(c.shard), c.shard.file_name))
    for _, alike in groupby(todo, key=lambda c: _kind(c.shard)):
        for sources in _bins(alike):
            if len(sources) > 1 or not sources[0].good.all():
                yield _merge(index, sources)


def _kind(shard: Shard) -> list[tuple[str, str]]:
    """Provenance without date and certificate. Shards are only merged if this is the same."""
    return sorted((k, v) for k, v in shard.metadata.items() if k not in {"date", *PROVENANCE_NAMES})


def _bins(found: Iterator[Checked]) -> Iterator[list[Checked]]:
    """Split shards into runs of at most the target's size."""
    current: list[Checked] = []
    n_bytes = 0
    for checked in found:
        if current and n_bytes + checked.shard.n_bytes > TARGET_BYTES:
            yield current
            current, n_bytes = [], 0
        current.append(checked)
        n_bytes += checked.shard.n_bytes
    if current:
        yield current


def _merge(index: KeyIndex, sources: list[Checked]) -> Compaction:
    """Write the good rows of shards as one, then remove the shards."""
    ids = np.concatenate([c.good_ids for c in sources])
    # np.unique names each id's first row, so the shard with the smallest name wins.
    _, first = np.unique(ids, return_index=True)
    is_kept = np.zeros(len(ids), np.bool_)
    is_kept[first] = True
    largest = max(sources, key=rank)
    merged: str | None = None
    if largest.is_whole and largest.shard.n_rows == len(first):
        # This shard has all rows of the others. A copy of it wouldn't come after it in the order of
        # removal, and that order is what keeps every row safe.
        merged = largest.shard.name
    elif len(first):
        merged = _write_merged(index, sources, is_kept)
    others = [c.shard for c in sources if c.shard.name != merged]
    for shard in others:
        remove(index, shard)
    logger.info("merged %d shards of %s into %d rows", len(sources), index.path, len(first))
    return Compaction(
        index.key,
        tuple(shard.path for shard in others),
        None if merged is None else index.place.where(merged),
        len(first),
        sum(int((~c.good).sum()) for c in sources),
    )


def _write_merged(index: KeyIndex, sources: list[Checked], is_kept: NDArray[np.bool_]) -> str:
    shard = sources[0].shard
    n_rows = int(is_kept.sum())
    rows = files.allocate((n_rows,), shard.row_type)
    kept_ids, begin, seen = [], 0, 0
    for c in sources:
        n_good = int(c.good.sum())
        numbers = np.flatnonzero(c.good)[is_kept[seen : seen + n_good]]
        seen += n_good
        places = np.arange(begin, begin + len(numbers))
        begin += len(numbers)
        if not shards.gather(c.shard, numbers, rows, places).all():
            raise BadShard(f"{c.shard.path} was damaged while it was merged; verify the store")
        kept_ids.append(c.shard.ids[numbers])
    return shards.write(
        index.place,
        index.folder,
        np.concatenate(kept_ids),
        rows,
        key=index.key,
        storage=index.storage,
        provenance=_joint_provenance([c.shard for c in sources]),
    )


def _joint_provenance(sources: list[Shard]) -> dict[str, str]:
    """Provenance that the shards share, the range of their dates, and their best certificate."""
    metadata = dict(_kind(sources[0]))
    if certificate := best(shard.metadata for shard in sources):
        metadata |= certificate.to_provenance()
    # ISO dates sort as texts; a range came from an earlier merge.
    dates = sorted({d for s in sources for d in s.metadata.get("date", "").split(DATE_RANGE) if d})
    if dates:
        metadata["date"] = dates[0] if len(dates) == 1 else DATE_RANGE.join((dates[0], dates[-1]))
    return metadata
