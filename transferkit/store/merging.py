"""Taking another store's rows."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from transferkit.spec import FeatureSpec
from transferkit.store import shards
from transferkit.store.shards import BadShard, Shard
from transferkit.store.verifying import Fault

if TYPE_CHECKING:
    from transferkit.store.directory import FeatureStore

__all__ = ["Merged", "merge_shards"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Merged:
    """What was taken over from another store's key.

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
    """

    key: str
    n_rows: int
    n_known: int
    faults: tuple[Fault, ...]


def merge_shards(store: "FeatureStore", spec: FeatureSpec, found: Sequence[Shard]) -> Merged:
    """Verify another store's shards and write what is missing here, shard by shard.

    Parameters
    ----------
    store : FeatureStore
        Where the rows go.
    spec : FeatureSpec
        What they are.
    found : sequence of Shard
        The other store's shards of that spec.
    """
    n_rows = n_known = 0
    faults: list[Fault] = []
    for shard in found:
        try:
            good = shards.intact(shard)
        except (OSError, BadShard) as error:
            faults.append(Fault(spec.key, shard.path, f"unreadable: {error}"))
            continue
        if not good.all():
            reason = f"{int((~good).sum())} of {shard.n_rows} rows don't match their checksum"
            bad_ids = tuple(shards.raw_ids(shard.ids[~good]))
            faults.append(Fault(spec.key, shard.path, reason, bad_ids))
        ids = shards.raw_ids(shard.ids[good])
        wanted = set(store.missing(spec, ids))
        n_known += len(set(ids)) - len(wanted)
        # The first row of each id: shards with repeated ids are legal.
        chosen = [n for n, row in zip(np.flatnonzero(good), ids, strict=True) if _take(wanted, row)]
        if chosen:
            numbers = np.array(chosen, dtype=np.intp)
            rows = np.empty((len(numbers), *shard.row_shape), shard.dtype)
            if not shards.gather(shard, numbers, rows, np.arange(len(numbers))).all():
                raise BadShard(f"{shard.path} was damaged while it was merged; merge again")
            new_ids = shards.raw_ids(shard.ids[numbers])
            store.write(spec, new_ids, rows, provenance=shard.metadata)
            n_rows += len(numbers)
    logger.info(
        "merged %s: %s rows are new, %s were known", spec.key, f"{n_rows:,}", f"{n_known:,}"
    )
    return Merged(spec.key, n_rows, n_known, tuple(faults))


def _take(wanted: set[bytes], row: bytes) -> bool:
    if row not in wanted:
        return False
    wanted.discard(row)
    return True
