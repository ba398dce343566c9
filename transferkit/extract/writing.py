"""Gather rows and write them as shards."""

from __future__ import annotations

import time

import numpy as np

from transferkit.spec import FeatureSpec
from transferkit.store import FeatureStore

__all__ = ["ShardWriter"]

# A shard is written when it reaches this size, so a killed run loses less than that.
SHARD_ROWS = 1024
SHARD_BYTES = 64 * 2**20
SHARD_SECONDS = 10.0


class ShardWriter:
    """Gathers rows, and writes a shard when there are enough or some time has passed."""

    def __init__(
        self,
        store: FeatureStore,
        specs: dict[str, FeatureSpec],
        provenance: dict[str, str],
    ) -> None:
        self.store, self.specs, self.provenance = store, specs, provenance
        self.ids: list[bytes] = []
        self.rows: dict[str, list[np.ndarray]] = {name: [] for name in specs}
        self.n_bytes = 0
        self.last = time.monotonic()

    def add(self, ids: list[bytes], rows: dict[str, np.ndarray]) -> dict[bytes, str]:
        """Add one batch: an id and one row of every feature per image.

        Rows beyond the ids are the batch's padding. Images whose rows can't be stored are
        not added; they are returned with the reason.
        """
        rows = {name: array[: len(ids)] for name, array in rows.items()}
        faults: dict[bytes, str] = {}
        for name, spec in self.specs.items():
            faults |= _faults(ids, rows[name], spec)
        good = np.array([row not in faults for row in ids], dtype=bool)
        self.ids += [row for row in ids if row not in faults]
        for name in self.specs:
            self.rows[name].append(rows[name] if good.all() else rows[name][good])
            self.n_bytes += rows[name].nbytes
        is_late = time.monotonic() - self.last > SHARD_SECONDS
        if len(self.ids) >= SHARD_ROWS or self.n_bytes >= SHARD_BYTES or is_late:
            self.flush()
        return faults

    def flush(self) -> None:
        """Write the gathered rows, except for those that the store has by now."""
        ids = np.array(self.ids, dtype=object)
        for name, spec in self.specs.items():
            missing = set(self.store.missing(spec, self.ids))
            chosen = np.array([row in missing for row in self.ids], dtype=bool)
            if chosen.any():
                rows = np.concatenate(self.rows[name])[chosen]
                self.store.write(spec, list(ids[chosen]), rows, provenance=self.provenance)
            self.rows[name] = []
        self.ids, self.n_bytes, self.last = [], 0, time.monotonic()


def _faults(ids: list[bytes], rows: np.ndarray, spec: FeatureSpec) -> dict[bytes, str]:
    """Find images whose rows of one feature the store would refuse, with the reason.

    One such row among them would cost the whole shard, so they are found here, where the
    image still has a name.
    """
    with np.errstate(over="ignore"):
        stored = rows.astype(spec.storage, copy=False)
    faults = {}
    for i in np.flatnonzero(~_are_finite(stored)):
        if _are_finite(rows[i : i + 1]).all():
            largest = np.finfo(spec.storage).max
            reason = f"its features exceed {largest:g}, the largest {spec.storage}; "
            reason += "try --storage float32"
        else:
            reason = "its features are not finite (NaN or infinite); "
            is_exact = spec.precision == "float32"
            reason += "look at it and the weights" if is_exact else "try --precision float32"
        faults[ids[i]] = reason
    return faults


def _are_finite(rows: np.ndarray) -> np.ndarray:
    """Whether each row holds nothing but numbers."""
    finite: np.ndarray = np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
    return finite
