"""Gather rows and write them as shards."""

from __future__ import annotations

import time

import numpy as np

from transferkit.extract.certifying import SampledRows
from transferkit.spec import FeatureSpec
from transferkit.store import FeatureStore, encoding

__all__ = ["ShardWriter"]

# A shard is written when it reaches this size, so a killed run loses less than that.
SHARD_ROWS = 1024
SHARD_BYTES = 64 * 2**20
SHARD_SECONDS = 10.0


class ShardWriter:
    """Gathers rows, and writes a shard when there are enough or some time has passed.

    Parameters
    ----------
    store : FeatureStore
        Where they go.
    specs : dict of str to FeatureSpec
        What they are, by name.
    provenance : dict of str
        Whence they come.
    sample : SampledRows, optional
        Measures what the storage class costs; what it finds is added to the provenance.
    """

    def __init__(
        self,
        store: FeatureStore,
        specs: dict[str, FeatureSpec],
        provenance: dict[str, str],
        sample: SampledRows | None = None,
    ) -> None:
        self.store, self.specs, self.provenance, self.sample = store, specs, provenance, sample
        self.ids: list[bytes] = []
        self.rows: dict[str, list[np.ndarray]] = {name: [] for name in specs}
        self.n_bytes = 0
        self.last = time.monotonic()

    def add(self, ids: list[bytes], rows: dict[str, np.ndarray]) -> dict[bytes, str]:
        """Add one batch: an id and one row of every feature per image.

        Rows beyond the ids are the batch's padding. Images whose rows can't be stored are
        not added; they are returned with the reason.
        """
        encoded: dict[str, np.ndarray] = {}
        faults: dict[bytes, str] = {}
        for name, spec in self.specs.items():
            given = rows[name][: len(ids)]
            encoded[name] = encoding.encode(given, spec.storage)
            faults |= _faults(ids, given, encoded[name], spec)
        good = np.array([row not in faults for row in ids], dtype=bool)
        stored = [row for row in ids if row not in faults]
        self.ids += stored
        if self.sample is not None:
            self.sample.add(stored, {name: rows[name][: len(ids)][good] for name in self.specs})
        for name in self.specs:
            self.rows[name].append(encoded[name] if good.all() else encoded[name][good])
            self.n_bytes += self.rows[name][-1].nbytes
        is_late = time.monotonic() - self.last > SHARD_SECONDS
        if len(self.ids) >= SHARD_ROWS or self.n_bytes >= SHARD_BYTES or is_late:
            self.flush()
        return faults

    def flush(self, *, is_last: bool = False) -> None:
        """Write the gathered rows, except for those that the store has by now."""
        ids = np.array(self.ids, dtype=object)
        for name, spec in self.specs.items():
            missing = set(self.store.missing(spec, self.ids))
            chosen = np.array([row in missing for row in self.ids], dtype=bool)
            if chosen.any():
                rows = np.concatenate(self.rows[name])[chosen]
                whence = self.provenance
                if self.sample is not None:
                    whence = whence | self.sample.provenance(name, is_last=is_last)
                self.store.write(spec, list(ids[chosen]), rows, provenance=whence)
            self.rows[name] = []
        self.ids, self.n_bytes, self.last = [], 0, time.monotonic()


def _faults(
    ids: list[bytes], rows: np.ndarray, encoded: np.ndarray, spec: FeatureSpec
) -> dict[bytes, str]:
    """Find images whose rows of one feature the store would refuse, with the reason.

    One such row among them would cost the whole shard, so they are found here, where the
    image still has a name.
    """
    faults = {}
    for i in np.flatnonzero(~encoding.are_finite(encoded)):
        if encoding.are_finite(rows[i : i + 1]).all():
            largest = encoding.largest(spec.storage)
            reason = f"its features exceed {largest:g}, the largest {spec.storage}; "
            reason += "try --storage float32"
        else:
            reason = "its features are not finite (NaN or infinite); "
            is_exact = spec.precision == "float32"
            reason += "look at it and the weights" if is_exact else "try --precision float32"
        faults[ids[i]] = reason
    return faults
