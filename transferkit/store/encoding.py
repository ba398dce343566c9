"""How rows stand in a shard: as floats, or as int8 with a scale for each channel.

A map of ``int8`` storage is two tensors. ``scales`` holds one float32 per channel and image, the
channel's largest absolute value over 127; ``rows`` holds the values over their channel's scale,
rounded to whole numbers. Read, they are float32: that is exact, has no largest value that a map
could exceed, is what heads compute in, and takes an eighth of the time that NumPy needs to make
float16. In memory, rows that are moved from one shard to another as they are have a structured
type of the two, so that no value is rounded twice.

A value comes back within half a scale, 1/254 of its channel's largest absolute value.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "TENSORS",
    "VALUE_TYPES",
    "are_finite",
    "cosines",
    "decode_into",
    "encode",
    "largest",
    "row_shape",
    "row_type",
]

TENSORS: Mapping[str, Mapping[str, tuple[str, np.dtype[Any]]]] = {
    "float32": {"rows": ("F32", np.dtype("<f4"))},
    "float16": {"rows": ("F16", np.dtype("<f2"))},
    "int8": {"scales": ("F32", np.dtype("<f4")), "rows": ("I8", np.dtype("i1"))},
}
"""Tensors that make the rows of each storage class, in the order of a row's bytes.

Each has its type by safetensors' name, and by NumPy's.
"""

VALUE_TYPES: Mapping[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int8": np.dtype("<f4"),
}
"""Type of the rows of each storage class once they are read."""

_LEVELS = np.float32(127)
# -128, which isn't written but may be read, times this is still a number.
_LARGEST_SCALE = np.finfo(np.float32).max / np.float32(128)
# A channel whose largest absolute value is below this is stored as zeros: the scales of smaller
# ones have too few digits.
_SMALLEST = np.float32(1e-35)
# Bits of float16 that are all set in what is no finite number.
_EXPONENT = np.uint16(0x7C00)
# Rows are encoded so many bytes at a time, to keep what is computed on the way small.
_BLOCK_BYTES = 1 << 24


def row_type(storage: str, shape: tuple[int, ...]) -> np.dtype[Any]:
    """Type of a stored row in memory; its bytes are those that the checksum covers.

    Parameters
    ----------
    storage : str
        Storage class, a name of `TENSORS`.
    shape : tuple of int
        Shape of a row once it is read; ``(D, H, W)`` for int8.

    Returns
    -------
    numpy.dtype
        A subarray of floats, or for int8 the structure of ``scales`` and ``rows``.

    Examples
    --------
    >>> np.empty(5, row_type("float16", (3, 2, 2))).shape
    (5, 3, 2, 2)
    >>> row_type("int8", (3, 2, 2)).itemsize  # 3 scales of 4 bytes, 12 values
    24
    """
    kinds = TENSORS[storage]
    if "scales" not in kinds:
        return np.dtype((kinds["rows"][1], shape))
    shapes = {"scales": shape[:1], "rows": shape}
    return np.dtype([(name, kind, shapes[name]) for name, (_, kind) in kinds.items()])


def row_shape(rows: NDArray[Any]) -> tuple[int, ...]:
    """Shape of a row once it is read, of rows as they are stored."""
    return rows.dtype["rows"].shape if rows.dtype.names else rows.shape[1:]


def largest(storage: str) -> float:
    """Largest absolute value that a storage class takes."""
    return float(_LEVELS * _LARGEST_SCALE if storage == "int8" else np.finfo(storage).max)


def encode(rows: NDArray[Any], storage: str) -> NDArray[Any]:
    """Turn rows into what is stored; `are_finite` tells which of them shouldn't be.

    Parameters
    ----------
    rows : array of shape (n, ...)
        Real numbers; maps ``(n, D, H, W)`` for int8.
    storage : str
        Storage class.

    Returns
    -------
    array
        Of `row_type`, C-contiguous.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if storage != "int8":
            return np.ascontiguousarray(rows, VALUE_TYPES[storage])
        encoded = np.empty(len(rows), row_type(storage, rows.shape[1:]))
        step = max(1, _BLOCK_BYTES // max(1, 4 * rows[:1].size))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            _quantise(np.asarray(rows[part], np.float32), encoded[part])
    return encoded


def _quantise(maps: NDArray[np.float32], out: NDArray[Any]) -> None:
    n, channels = maps.shape[:2]
    highest = np.abs(maps).reshape(n, channels, -1).max(axis=2)
    highest[highest < _SMALLEST] = 0
    scales = highest / _LEVELS
    out["scales"] = scales
    quotients = maps / np.where(scales == 0, np.float32(np.inf), scales)[..., None, None]
    out["rows"] = np.rint(quotients, out=quotients)


def decode_into(
    out: NDArray[Any], places: NDArray[np.intp], tensors: Mapping[str, NDArray[Any]]
) -> None:
    """Put stored rows into their places in an array.

    Parameters
    ----------
    out : array of shape (m, ...)
        Of any float type, for values; of `row_type`, for rows as they are stored.
    places : array of int, shape (n,)
        Index into `out` of each row.
    tensors : dict of str to array
        The rows' tensors, ``(n, ...)`` each.
    """
    if out.dtype.names:
        for name in out.dtype.names:
            out[name][places] = tensors[name]
    elif "scales" not in tensors:
        out[places] = tensors["rows"]
    else:
        scales = tensors["scales"][..., None, None]
        # Each straight into its place: a map is large enough to be worth a call.
        for place, values, scale in zip(places.tolist(), tensors["rows"], scales, strict=True):
            np.multiply(values, scale, out=out[place], casting="unsafe")


def are_finite(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each row, encoded or not, holds nothing but numbers once it is read."""
    if not rows.dtype.names:
        if rows.dtype == np.float16:  # of which NumPy asks one value at a time
            finite = (rows.view(np.uint16) & _EXPONENT) != _EXPONENT
        else:
            finite = np.isfinite(rows)
        return np.asarray(finite.all(axis=tuple(range(1, rows.ndim))))
    scales = np.abs(rows["scales"])
    # Not its opposite: nothing is true of a scale that is no number.
    return np.asarray((scales <= _LARGEST_SCALE).all(axis=1))


def cosines(rows: NDArray[Any], storage: str) -> NDArray[np.float64]:
    """Cosine of each row to what comes back of it from the store.

    Parameters
    ----------
    rows : array of shape (n, ...)
        The rows.
    storage : str
        Storage class.
    """
    stored = encode(rows, storage)
    names = stored.dtype.names
    found = np.empty((len(rows), *rows.shape[1:]), VALUE_TYPES[storage])
    tensors = {name: stored[name] for name in names} if names else {"rows": stored}
    decode_into(found, np.arange(len(rows)), tensors)
    given = rows.reshape(len(rows), -1).astype(np.float64)
    flat = found.reshape(len(rows), -1).astype(np.float64)
    norms = np.linalg.norm(given, axis=1) * np.linalg.norm(flat, axis=1)
    # A row of zeros comes back as it was.
    return np.where(norms > 0, (given * flat).sum(axis=1) / np.where(norms > 0, norms, 1), 1.0)
