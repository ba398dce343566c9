"""Gathering rows into shards."""

from __future__ import annotations

import time

import numpy as np

from transferkit.spec import FeatureSpec
from transferkit.store import FeatureStore

__all__ = ["Writer"]

# A shard is written when it holds this much; what a killed run loses is less than one.
SHARD_ROWS = 1024
SHARD_BYTES = 64 * 2**20
SHARD_SECONDS = 10.0


class Writer:
    """Gathers rows and writes a shard when there are enough, or it has been long."""

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
        """Take one batch: an id and one row of every feature per image.

        Rows beyond the ids are the batch's padding. Images whose rows are no numbers are
        not taken, but given back with the reason.
        """
        rows = {name: array[: len(ids)] for name, array in rows.items()}
        good = np.ones(len(ids), dtype=bool)
        for array in rows.values():
            good &= np.isfinite(array).reshape(len(ids), -1).all(axis=1)
        self.ids += [row for row, is_good in zip(ids, good, strict=True) if is_good]
        for name in self.specs:
            self.rows[name].append(rows[name] if good.all() else rows[name][good])
            self.n_bytes += rows[name].nbytes
        is_late = time.monotonic() - self.last > SHARD_SECONDS
        if len(self.ids) >= SHARD_ROWS or self.n_bytes >= SHARD_BYTES or is_late:
            self.flush()
        reason = "its features are not finite (NaN or infinite); try --precision float32"
        return {row: reason for row, is_good in zip(ids, good, strict=True) if not is_good}

    def flush(self) -> None:
        """Write what has been gathered, less what the store has by now."""
        ids = np.array(self.ids, dtype=object)
        for name, spec in self.specs.items():
            missing = set(self.store.missing(spec, self.ids))
            chosen = np.array([row in missing for row in self.ids], dtype=bool)
            if chosen.any():
                rows = np.concatenate(self.rows[name])[chosen]
                self.store.write(spec, list(ids[chosen]), rows, provenance=self.provenance)
            self.rows[name] = []
        self.ids, self.n_bytes, self.last = [], 0, time.monotonic()
