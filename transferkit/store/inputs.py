"""Check ids, rows and provenance before they go into a store."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.store import shards
from transferkit.store.header import MAX_DIMENSIONS, MAX_ROW_BYTES

__all__ = ["checked_provenance", "id_array", "storable"]


def id_array(ids: Sequence[bytes]) -> NDArray[np.bytes_]:
    """Row ids as one array of fixed-width strings."""
    wrong = [i for i in ids if not isinstance(i, bytes) or len(i) != shards.ID_BYTES]
    if wrong:
        raise ValueError(
            f"{wrong[0]!r} isn't a row id; give {shards.ID_BYTES} bytes each, such as the "
            "beginning of a SHA-256"
        )
    return np.frombuffer(b"".join(ids), shards.ID_TYPE)


def storable(rows: NDArray[Any], n_ids: int, storage: str) -> NDArray[Any]:
    """Cast rows to the storage type. Values that aren't finite, or become so, are refused."""
    given = np.asarray(rows)
    if given.dtype.kind not in "fiu":
        raise ValueError(f"the rows are of type {given.dtype}; give real numbers")
    if not n_ids or len(given.shape) < 2 or len(given) != n_ids or not given.size:
        raise ValueError(
            f"{n_ids} ids and rows of shape {given.shape} don't make a shard; give at least one "
            "row, and rows of shape (number of ids, ...)"
        )
    if given.ndim > MAX_DIMENSIONS:
        raise ValueError(
            f"the rows have shape {given.shape}; give at most {MAX_DIMENSIONS} dimensions"
        )
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(given, storage)
    if stored[0].nbytes > MAX_ROW_BYTES:
        raise ValueError(
            f"a row has {stored[0].nbytes:,} bytes; give rows of at most {MAX_ROW_BYTES:,}"
        )
    n_lost = _n_not_finite(stored)
    if n_lost and _n_not_finite(given):
        raise ValueError(
            f"{_n_not_finite(given)} of {n_ids} rows hold values that aren't finite, which are "
            "never stored; look at the weights and at the images they come from"
        )
    if n_lost:
        raise ValueError(
            f"{n_lost} of {n_ids} rows hold values above {np.finfo(storage).max:g}, the largest "
            f"{storage}; choose a spec whose storage is wider"
        )
    return stored


def _n_not_finite(rows: NDArray[Any]) -> int:
    """Count rows with a value that isn't finite."""
    return int((~np.isfinite(rows).reshape(len(rows), -1).all(axis=1)).sum())


def checked_provenance(provenance: Mapping[str, str]) -> dict[str, str]:
    """Check that provenance can stand in a shard's header, and return a copy of it."""
    for name, value in provenance.items():
        if name == "key" or not isinstance(name, str) or not isinstance(value, str):
            raise ValueError(
                f"provenance {name!r} is {value!r}; give texts by name, and no 'key', which the "
                "store writes itself"
            )
    return dict(provenance)
