"""Rows that follow from their ids, so that any row of a store can be checked without another."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable

import numpy as np

from transferkit.spec import FeatureSpec, Preprocess
from transferkit.store import FeatureStore

__all__ = ["SPEC", "SPECS", "fill", "ids_of", "lost_and_wrong", "rows_of"]

N_FEATURES = 64
SPEC = FeatureSpec(
    "benchmark:faults",
    "{}",
    "random:0",
    Preprocess((64, 64), "bicubic", 1.0, "center", (0.5,) * 3, (0.5,) * 3),
    "pre_logits",
)
SPECS = tuple(dataclasses.replace(SPEC, storage=storage) for storage in ("float32", "float16"))


def ids_of(numbers: Iterable[int]) -> list[bytes]:
    """Row ids, as scattered as digests."""
    return [hashlib.sha256(str(n).encode()).digest()[:16] for n in numbers]


def rows_of(ids: Iterable[bytes]) -> np.ndarray:
    """The row of each id: numbers that float16 holds exactly."""
    values = [np.frombuffer(hashlib.sha512(one).digest(), np.uint8) for one in ids]
    return np.array(values, np.float32).reshape(-1, N_FEATURES) / 16


def fill(store: FeatureStore, spec: FeatureSpec, ids: list[bytes], n_of_shard: int) -> None:
    """Write rows in small shards."""
    for start in range(0, len(ids), n_of_shard):
        part = ids[start : start + n_of_shard]
        store.write(spec, part, rows_of(part))


def lost_and_wrong(
    store: FeatureStore, spec: FeatureSpec, ids: list[bytes], expected: np.ndarray | None = None
) -> tuple[int, int]:
    """How many of these rows aren't in a store, and how many have other numbers there."""
    absent = set(store.missing(spec, ids))
    at = [i for i, one in enumerate(ids) if one not in absent]
    if not at:
        return len(absent), 0
    found = store.read(spec, [ids[i] for i in at])
    true = rows_of([ids[i] for i in at]) if expected is None else expected[at]
    return len(absent), int((found != true).any(axis=1).sum())
