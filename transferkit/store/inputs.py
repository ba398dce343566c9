"""Check ids, rows and provenance before they go into a store."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.store import encoding, shards
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
    """Encode rows for a storage class. Values that aren't finite, or become so, are refused.

    Rows that are encoded already are taken as they are.
    """
    given = np.asarray(rows)
    _check_shape(given, n_ids, storage)
    stored = given if given.dtype.names else encoding.encode(given, storage)
    n_lost = _n_not_finite(stored)
    if n_lost and (n_odd := _n_not_finite(given)):
        raise ValueError(
            f"{n_odd} of {n_ids} rows hold values that aren't finite, which are "
            "never stored; look at the weights and at the images they come from"
        )
    if n_lost:
        raise ValueError(
            f"{n_lost} of {n_ids} rows hold values above {encoding.largest(storage):g}, the "
            f"largest {storage}; choose a spec whose storage is wider"
        )
    return stored


def _check_shape(rows: NDArray[Any], n_ids: int, storage: str) -> None:
    """Raise a ValueError unless rows are of a type and a shape that can be stored."""
    is_encoded = rows.dtype.names == ("scales", "rows") and rows.ndim == 1
    shape = (len(rows), *encoding.row_shape(rows)) if is_encoded else rows.shape
    is_fit = (
        rows.dtype == encoding.row_type(storage, shape[1:])
        if is_encoded
        else rows.dtype.kind in "fiu"
    )
    if not is_fit:
        raise ValueError(f"the rows are of type {rows.dtype}; give real numbers")
    if not n_ids or len(shape) < 2 or len(rows) != n_ids or not rows.size:
        raise ValueError(
            f"{n_ids} ids and rows of shape {shape} don't make a shard; give at least one "
            "row, and rows of shape (number of ids, ...)"
        )
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"the rows have shape {shape}; give at most {MAX_DIMENSIONS} dimensions")
    if storage == "int8" and len(shape) not in (2, 4):
        raise ValueError(
            f"the rows have shape {shape}, and storage int8 is for vectors (number of ids, d) and "
            "for maps (number of ids, D, H, W); choose a spec whose storage is float16"
        )
    row_bytes = math.prod(shape[1:]) * encoding.VALUE_TYPES[storage].itemsize
    if row_bytes > MAX_ROW_BYTES:
        raise ValueError(f"a row has {row_bytes:,} bytes; give rows of at most {MAX_ROW_BYTES:,}")


def _n_not_finite(rows: NDArray[Any]) -> int:
    """Count rows with a value that isn't finite."""
    return int((~encoding.are_finite(rows)).sum())


def checked_provenance(provenance: Mapping[str, str]) -> dict[str, str]:
    """Check that provenance can stand in a shard's header, and return a copy of it."""
    for name, value in provenance.items():
        if name == "key" or not isinstance(name, str) or not isinstance(value, str):
            raise ValueError(
                f"provenance {name!r} is {value!r}; give texts by name, and no 'key', which the "
                "store writes itself"
            )
    return dict(provenance)
