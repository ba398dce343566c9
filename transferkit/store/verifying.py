"""Find damage by reading every shard of a key whole."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transferkit.store import shards
from transferkit.store.index import KeyIndex
from transferkit.store.shards import BadShard, Shard

__all__ = ["Checked", "Fault", "check_all", "faults"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fault:
    """Damage found in a store.

    Parameters
    ----------
    key : str
        Key concerned.
    path : Path or str
        The damaged file.
    reason : str
        What is wrong with it.
    ids : tuple of bytes
        Ids of the damaged rows; empty if the file can't be read at all, or if its rows are
        all good.
    """

    key: str
    path: Path | str
    reason: str
    ids: tuple[bytes, ...] = ()

    @property
    def n_rows(self) -> int:
        """Number of damaged rows."""
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Checked:
    """A shard that was read whole.

    Parameters
    ----------
    shard : Shard
        The shard.
    good : array of bool, shape (n,)
        Which of its rows are good.
    """

    shard: Shard
    good: NDArray[np.bool_]

    @property
    def good_ids(self) -> NDArray[np.bytes_]:
        """Ids of the good rows."""
        return self.shard.ids[self.good]

    @property
    def is_whole(self) -> bool:
        """Whether every row is good and none stands twice."""
        return len(np.unique(self.good_ids)) == self.shard.n_rows


def _check(index: KeyIndex, shard: Shard) -> Checked:
    """Read a shard whole and mark its bad rows."""
    checked = Checked(shard, shards.intact(shard))
    if not checked.good.all():
        index.mark(shard, np.flatnonzero(~checked.good))
    return checked


def check_all(index: KeyIndex, found: Iterable[Shard]) -> list[Checked]:
    """Read shards whole. Shards that can't be read are left out, so that they aren't changed."""
    checked = []
    for shard in found:
        try:
            checked.append(_check(index, shard))
        except FileNotFoundError:
            index.forget(shard.file_name)
        except (OSError, BadShard) as error:
            logger.warning("shard %s can't be read and is left as it is: %s", shard.path, error)
    return checked


def faults(index: KeyIndex) -> list[Fault]:
    """Read every shard of a key and name the damage."""
    damage = []
    snapshot = index.snapshot()
    for name, reason in snapshot.unreadable.items():
        path = index.place.where(f"{index.folder}/{name}")
        damage.append(Fault(index.key, path, f"unreadable: {reason}"))
    for shard in snapshot.shards:
        try:
            fault = _fault(index, shard)
        except FileNotFoundError:
            continue
        except (OSError, BadShard) as error:
            fault = Fault(index.key, shard.path, f"unreadable: {error}")
        if fault is not None:
            damage.append(fault)
    return damage


def _fault(index: KeyIndex, shard: Shard) -> Fault | None:
    checked = _check(index, shard)
    bad_ids = tuple(shards.raw_ids(shard.ids[~checked.good]))
    if bad_ids:
        reason = f"{len(bad_ids)} of {shard.n_rows} rows don't match their checksum"
        return Fault(index.key, shard.path, reason, bad_ids)
    if shards.digest(shard) != shard.file_name.removesuffix(shards.SUFFIX):
        reason = "the file isn't what was written under its name, though its rows are good"
        return Fault(index.key, shard.path, reason)
    return None
