"""Care for a store: find damage, remove what is spare, merge small shards.

Nothing here takes a lock, and any number of these may run at once. What makes it safe is
one fixed order of shards (`_rank`): a shard is only ever removed when each of its good rows
stands good in a shard that comes *later* in that order. Whoever removes whatever, of all
shards that ever held a good copy of a row the last in the order stays.
"""

import logging
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transferkit.store import files, shards
from transferkit.store.index import KeyIndex
from transferkit.store.shards import BadShard, Shard

__all__ = [
    "Compaction",
    "Fault",
    "Removed",
    "compact",
    "faults",
    "folder_bytes",
    "remove_spare",
    "remove_temporary",
]

logger = logging.getLogger(__name__)

# Shards are merged up to this size; those above half of it are large enough.
TARGET_BYTES = 1 << 28
TEMPORARY_SECONDS = 24 * 3600
ATTEMPTS = 5
DATE_RANGE = " … "


@dataclass(frozen=True)
class Fault:
    """Damage found in a store.

    Parameters
    ----------
    key : str
        Key concerned.
    path : Path
        The damaged file.
    reason : str
        What is wrong with it.
    ids : tuple of bytes
        Ids of the damaged rows; empty if the file can't be read at all, or if its rows are
        all good.
    """

    key: str
    path: Path
    reason: str
    ids: tuple[bytes, ...] = ()

    @property
    def n_rows(self) -> int:
        """Number of damaged rows."""
        return len(self.ids)


@dataclass(frozen=True)
class Removed:
    """Something that garbage collection removed, or would.

    Parameters
    ----------
    key : str
        Key concerned.
    path : Path
        The file or folder.
    reason : str
        Why it went.
    n_bytes : int
        Its size.
    """

    key: str
    path: Path
    reason: str
    n_bytes: int


@dataclass(frozen=True)
class Compaction:
    """Shards that became one.

    Parameters
    ----------
    key : str
        Key concerned.
    sources : tuple of Path
        Shards that went.
    merged : Path, or None
        Shard that holds their good rows; None if there was none.
    n_rows : int
        Its number of rows.
    n_dropped : int
        Number of damaged rows left behind.
    """

    key: str
    sources: tuple[Path, ...]
    merged: Path | None
    n_rows: int
    n_dropped: int


@dataclass(frozen=True, eq=False)
class _Checked:
    """A shard that was read whole, and which of its rows are good."""

    shard: Shard
    good: NDArray[np.bool_]

    @property
    def good_ids(self) -> NDArray[np.bytes_]:
        return self.shard.ids[self.good]

    @property
    def is_whole(self) -> bool:
        """Whether every row is good and none stands twice."""
        return len(np.unique(self.good_ids)) == self.shard.n_rows


def _rank(checked: _Checked) -> tuple[int, int, str]:
    """Place in the order: more good rows come later, and of as many, fewer others."""
    n_good = len(np.unique(checked.good_ids))
    return n_good, n_good - checked.shard.n_rows, checked.shard.path.name


def _check(index: KeyIndex, shard: Shard) -> _Checked:
    """Read a shard whole and mark its bad rows."""
    checked = _Checked(shard, shards.intact(shard))
    if not checked.good.all():
        index.mark(shard, np.flatnonzero(~checked.good))
    return checked


def _check_all(index: KeyIndex, found: Iterable[Shard]) -> list[_Checked]:
    """Read shards whole; those that can't be read are left out, and so left alone."""
    checked = []
    for shard in found:
        try:
            checked.append(_check(index, shard))
        except FileNotFoundError:
            index.forget(shard.path.name)
        except (OSError, BadShard) as error:
            logger.warning("shard %s can't be read and is left as it is: %s", shard.path, error)
    return checked


def faults(index: KeyIndex) -> list[Fault]:
    """Read every shard of a key and name the damage."""
    found = []
    snapshot = index.snapshot()
    for name, reason in snapshot.unreadable.items():
        found.append(Fault(index.key, index.folder / name, f"unreadable: {reason}"))
    for shard in snapshot.shards:
        try:
            fault = _fault(index, shard)
        except FileNotFoundError:
            continue
        except (OSError, BadShard) as error:
            fault = Fault(index.key, shard.path, f"unreadable: {error}")
        if fault is not None:
            found.append(fault)
    return found


def _fault(index: KeyIndex, shard: Shard) -> Fault | None:
    checked = _check(index, shard)
    bad_ids = tuple(shards.raw_ids(shard.ids[~checked.good]))
    if bad_ids:
        reason = f"{len(bad_ids)} of {shard.n_rows} rows don't match their checksum"
        return Fault(index.key, shard.path, reason, bad_ids)
    if shards.digest(shard.path) != shard.path.stem:
        reason = "the file isn't what was written under its name, though its rows are good"
        return Fault(index.key, shard.path, reason)
    return None


def folder_bytes(folder: Path) -> int:
    """Size of all files in a folder and below."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def remove_temporary(key: str, folder: Path, *, dry_run: bool) -> list[Removed]:
    """Remove temporary files that a killed writer left more than a day ago."""
    removed = []
    for path in sorted(folder.glob(f"{files.TEMPORARY_PREFIX}*")):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > TEMPORARY_SECONDS:
            removed.append(Removed(key, path, "temporary file", status.st_size))
            if not dry_run:
                path.unlink(missing_ok=True)
    return removed


def remove_spare(index: KeyIndex, *, dry_run: bool) -> list[Removed]:
    """Remove shards whose every row stands good in another that stays.

    Only shards that share an id with another are read.
    """
    snapshot = index.snapshot()
    shared = [snapshot.shards[number] for number in sorted(snapshot.repeated())]
    removed = []
    for checked in _spare(_check_all(index, shared)):
        shard = checked.shard
        removed.append(
            Removed(index.key, shard.path, "every row stands in another shard", shard.n_bytes)
        )
        if not dry_run:
            _remove(index, shard)
    return removed


def _remove(index: KeyIndex, shard: Shard) -> None:
    shard.path.unlink(missing_ok=True)
    index.forget(shard.path.name)


def _spare(found: list[_Checked]) -> list[_Checked]:
    """Shards of which every row, good or bad, stands good in one later in the order."""
    ranked = sorted(found, key=_rank)
    if not ranked:
        return []
    ids = np.concatenate([c.good_ids for c in ranked])
    position = np.repeat(np.arange(len(ranked)), [int(c.good.sum()) for c in ranked])
    # Stable: of equal ids, the one in the last shard of the order comes last.
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
    return done


def _compactions(index: KeyIndex) -> Iterator[Compaction]:
    found = _check_all(index, index.snapshot().shards)
    spare = _spare(found)
    for c in spare:
        _remove(index, c.shard)
    gone = {c.shard.path.name for c in spare}
    todo = [
        c
        for c in found
        if c.shard.path.name not in gone
        and (c.shard.n_bytes < TARGET_BYTES // 2 or not c.good.all())
    ]
    todo.sort(key=lambda c: (_kind(c.shard), c.shard.path.name))
    for _, alike in groupby(todo, key=lambda c: _kind(c.shard)):
        for sources in _bins(alike):
            if len(sources) > 1 or not sources[0].good.all():
                yield _merge(index, sources)


def _kind(shard: Shard) -> list[tuple[str, str]]:
    """Provenance but for the date; rows that differ in it stay in separate shards."""
    return sorted((k, v) for k, v in shard.metadata.items() if k != "date")


def _bins(found: Iterator[_Checked]) -> Iterator[list[_Checked]]:
    """Split shards into runs of at most the target's size."""
    current: list[_Checked] = []
    for checked in found:
        if current and sum(c.shard.n_bytes for c in [*current, checked]) > TARGET_BYTES:
            yield current
            current = []
        current.append(checked)
    if current:
        yield current


def _merge(index: KeyIndex, sources: list[_Checked]) -> Compaction:
    """Write the good rows of shards as one, then remove the shards."""
    ids = np.concatenate([c.good_ids for c in sources])
    # np.unique names each id's first row, so the shard with the smallest name wins.
    _, first = np.unique(ids, return_index=True)
    is_kept = np.zeros(len(ids), np.bool_)
    is_kept[first] = True
    largest = max(sources, key=_rank)
    merged: Path | None = None
    if largest.is_whole and largest.shard.n_rows == len(first):
        # It has all rows of the others; a copy wouldn't come after it in the order of
        # removal, and that order is what keeps every row safe.
        merged = largest.shard.path
    elif len(first):
        merged = _write_merged(index, sources, is_kept)
    others = [c.shard for c in sources if c.shard.path != merged]
    for shard in others:
        _remove(index, shard)
    logger.info("merged %d shards of %s into %d rows", len(sources), index.folder, len(first))
    return Compaction(
        index.key,
        tuple(shard.path for shard in others),
        merged,
        len(first),
        sum(int((~c.good).sum()) for c in sources),
    )


def _write_merged(index: KeyIndex, sources: list[_Checked], is_kept: NDArray[np.bool_]) -> Path:
    shard = sources[0].shard
    n_rows = int(is_kept.sum())
    rows = files.allocate((n_rows, *shard.row_shape), shard.dtype)
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
        index.folder,
        np.concatenate(kept_ids),
        rows,
        key=index.key,
        storage=index.storage,
        provenance=_joint_provenance([c.shard for c in sources]),
    )


def _joint_provenance(sources: list[Shard]) -> dict[str, str]:
    """Provenance that the shards share, and the range of their dates."""
    metadata = dict(sources[0].metadata)
    # ISO dates sort as texts; a range came from an earlier merge.
    dates = sorted({d for s in sources for d in s.metadata.get("date", "").split(DATE_RANGE) if d})
    if dates:
        metadata["date"] = dates[0] if len(dates) == 1 else DATE_RANGE.join((dates[0], dates[-1]))
    return metadata
