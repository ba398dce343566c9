"""The index of a key: in which shard and at which position each row stands."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transferkit.store import shards
from transferkit.store.catalogue import MANY, Catalogue
from transferkit.store.places import Stamp, StorePlace
from transferkit.store.shards import BadShard, Shard

__all__ = ["KeyIndex", "Snapshot", "shards_folder"]

logger = logging.getLogger(__name__)


def shards_folder(key: str) -> str:
    """Name of the folder that holds a key's shards."""
    return f"{key}/shards"


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The rows of one key at one moment, with their places in the shards.

    Parameters
    ----------
    shards : tuple of Shard
        The readable shards, by name.
    ids : array of shape (n,), S16
        Ids of all rows not known to be bad, sorted; of equal ids the one in the shard with
        the smallest name comes first.
    shard, row : array of shape (n,), int
        Number of the shard, and of the row in it, of each id.
    row_shape : tuple of int, or None
        Shape of one row; None if there is no shard.
    unreadable : dict
        Why each unreadable shard is so, by file name.
    bad : dict
        Ids of the rows known to be bad, by file name.
    """

    shards: tuple[Shard, ...]
    ids: NDArray[np.bytes_]
    shard: NDArray[np.intp]
    row: NDArray[np.intp]
    row_shape: tuple[int, ...] | None
    unreadable: Mapping[str, str]
    bad: Mapping[str, NDArray[np.bytes_]]

    def find(self, ids: NDArray[np.bytes_]) -> NDArray[np.intp]:
        """Position of each id's first row in `shard` and `row`; -1 where there is none."""
        if not len(self.ids):
            return np.full(len(ids), -1)
        at = np.searchsorted(self.ids, ids)
        at[at == len(self.ids)] = 0
        return np.where(self.ids[at] == ids, at, -1)

    @property
    def n_ids(self) -> int:
        """Number of distinct ids."""
        return int((self.ids[1:] != self.ids[:-1]).sum()) + min(1, len(self.ids))

    def repeated(self) -> set[int]:
        """Numbers of the shards with an id that another row has too."""
        same = self.ids[1:] == self.ids[:-1]
        return set(self.shard[1:][same].tolist()) | set(self.shard[:-1][same].tolist())


class KeyIndex:
    """Index over the shards of one key; reads each shard's header and ids once.

    There is no lock: a snapshot never changes, is swapped in by one assignment, and marks
    of bad rows only grow. Two threads at once do the same work twice at worst.

    Parameters
    ----------
    place : StorePlace
        Where the store is.
    key : str
        The key; its folder of shards need not exist.
    storage : str
        Storage type of its rows.
    reads_all : bool, default=False
        Whether each shard's own header is read, even where the catalogue has it.
    """

    def __init__(
        self, place: StorePlace, *, key: str, storage: str, reads_all: bool = False
    ) -> None:
        self.place = place
        self.folder = shards_folder(key)
        self.key = key
        self.storage = storage
        self.reads_all = reads_all
        self._catalogue = Catalogue(place, key=key, storage=storage)
        self._shards: dict[str, Shard] = {}
        self._unreadable: dict[str, tuple[Stamp, str]] = {}
        self._bad: dict[str, set[int]] = {}
        self._state: object = None
        self._snapshot = _snapshot((), {}, {})

    @property
    def path(self) -> Path | str:
        """Path or URL of the folder of shards."""
        return self.place.where(self.folder)

    def snapshot(self) -> Snapshot:
        """List the folder, load what is new, and return the rows as they stand now."""
        now: dict[str, Shard] = {}
        unreadable: dict[str, str] = {}
        listed = self._listing()
        current = {name: self._current(name, stamp) for name, (_, stamp) in listed.items()}
        new = [name for name, shard in current.items() if shard is None]
        if len(new) >= MANY and not self.reads_all:
            held = self._catalogue.find(self.folder, listed)
            for name in held.keys() & new:
                self.forget(name)
                current[name] = held[name]
            new = [name for name in new if name not in held]
        loaded = self.place.each(lambda name: self._load(name, listed[name]), new)
        current |= dict(zip(new, loaded, strict=True))
        for name, shard in current.items():
            if shard is not None:
                now[name] = shard
            elif name in self._unreadable:
                unreadable[name] = self._unreadable[name][1]
        self._shards = now
        # Each is copied in one step, because another thread may be marking rows.
        bad = {name: frozenset(self._bad[name]) for name in now if name in self._bad}
        state = (list(now.values()), unreadable, bad)
        if state != self._state:
            rows = {name: np.array(sorted(marked)) for name, marked in bad.items()}
            self._snapshot = _snapshot(tuple(now.values()), unreadable, rows)
            self._state = state
        return self._snapshot

    def row_shape(self) -> tuple[int, ...] | None:
        """Shape of one row, None if there is none; doesn't list the folder if it is known.

        A writer asks this for every shard, and sorting all ids for each would be quadratic.
        """
        return self._snapshot.row_shape or self.snapshot().row_shape

    def mark(self, shard: Shard, rows: NDArray[np.intp]) -> None:
        """Remember that rows are bad. From now on they count as missing."""
        logger.warning("%d damaged rows in %s; they are not used", len(rows), shard.path)
        self._bad.setdefault(shard.file_name, set()).update(rows.tolist())

    def forget(self, name: str) -> None:
        """Forget a shard, so that the next snapshot reads it again."""
        self._shards.pop(name, None)
        self._unreadable.pop(name, None)
        self._bad.pop(name, None)

    def save(self) -> None:
        """Put the shards that are known into the catalogue, if it lacks many."""
        self._catalogue.save(self.folder, self._shards)

    def remove_catalogue(self) -> None:
        """Remove the catalogue, whose shards are no longer there."""
        self.place.remove(self._catalogue.name)

    def _listing(self) -> dict[str, tuple[int, Stamp]]:
        """Size and stamp of each file that should be a shard, by name."""
        files = self.place.files(self.folder)
        return {n: known for n, known in files.items() if n.endswith(shards.SUFFIX) and n[0] != "."}

    def _current(self, name: str, stamp: Stamp) -> Shard | None:
        """Return the shard as loaded before, unless it was bad and has been replaced since.

        A recomputed row can give the very same content and so the very same name.
        """
        shard = self._shards.get(name)
        if shard is None or name not in self._bad:
            return shard
        return shard if shard.stamp == stamp else None

    def _load(self, name: str, known: tuple[int, Stamp]) -> Shard | None:
        if name in self._unreadable and self._unreadable[name][0] == known[1]:
            return None
        self.forget(name)
        path = f"{self.folder}/{name}"
        try:
            return shards.load(self.place, path, known, key=self.key, storage=self.storage)
        except FileNotFoundError:
            return None
        except (BadShard, OSError) as error:
            shown = self.place.where(path)
            logger.warning("shard %s can't be read: %s; its rows count as missing", shown, error)
            self._unreadable[name] = (known[1], str(error))
            return None


def _snapshot(
    found: tuple[Shard, ...], unreadable: dict[str, str], bad: dict[str, NDArray[np.intp]]
) -> Snapshot:
    """Sort the ids of all good rows; `found` must be in the order of names."""
    row_shape = _common_shape(found)
    held = tuple(shard for shard in found if shard.row_shape == row_shape)
    misfits = {
        s.file_name: f"its rows have shape {s.row_shape}, those of the others {row_shape}"
        for s in found
        if s.row_shape != row_shape
    }
    for name, reason in misfits.items():
        logger.warning("shard %s isn't used: %s", name, reason)
    rows = [np.arange(shard.n_rows) for shard in held]
    for i, shard in enumerate(held):
        if shard.file_name in bad:
            rows[i] = np.setdiff1d(rows[i], bad[shard.file_name], assume_unique=True)
    ids = np.concatenate(
        [np.empty(0, shards.ID_TYPE), *(s.ids[r] for s, r in zip(held, rows, strict=True))]
    )
    # Stable, so that among equal ids the shard with the smallest name stays first.
    order = np.argsort(ids, kind="stable")
    number = np.repeat(np.arange(len(held)), [len(r) for r in rows])
    row = np.concatenate([np.empty(0, np.intp), *rows])
    return Snapshot(
        shards=held,
        ids=ids[order],
        shard=number[order],
        row=row[order],
        row_shape=row_shape,
        unreadable={**unreadable, **misfits},
        bad={s.file_name: s.ids[bad[s.file_name]] for s in held if s.file_name in bad},
    )


def _common_shape(found: tuple[Shard, ...]) -> tuple[int, ...] | None:
    """Shape that most rows have, so that one stray shard can't decide it by sorting first."""
    counts: Counter[tuple[int, ...]] = Counter()
    for shard in found:
        counts[shard.row_shape] += shard.n_rows
    return max(counts, key=lambda shape: (counts[shape], shape), default=None)
