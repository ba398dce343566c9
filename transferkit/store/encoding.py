"""How rows stand in a shard: as floats, or as int8 with scales.

A row of ``int8`` storage is two tensors. ``scales`` holds float32 numbers, one per channel of a
map, or one per `BLOCK` values of a vector: the largest absolute value of the channel or block over
127. ``rows`` holds the values over their scale, rounded to whole numbers. Read, they are float32:
that is exact, has no largest value that a row could exceed, is what heads compute in, and takes an
eighth of the time that NumPy needs to make float16. In memory, rows that are moved from one shard
to another as they are have a structured type of the two, so that no value is rounded twice.

A value comes back within half a scale, 1/254 of the largest absolute value of its channel or block.
A vector has several scales because a few of its values may be a hundred times as large as the
others: these cost the digits of their own block, and not those of the whole row.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BLOCK",
    "TENSORS",
    "VALUE_TYPES",
    "are_finite",
    "cosines",
    "decode_into",
    "encode",
    "largest",
    "row_shape",
    "row_type",
    "scales_shape",
    "stored_values",
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

BLOCK = 64
"""Values of a vector that share a scale in int8."""

_LEVELS = np.float32(127)
# -128, which isn't written but may be read, times this is still a number.
_LARGEST_SCALE = np.finfo(np.float32).max / np.float32(128)
# A channel or block whose largest absolute value is below this is stored as zeros: the scales of
# smaller ones have too few digits.
_SMALLEST = np.float32(1e-35)
# Bits of float16 that are all set in what is no finite number.
_EXPONENT = np.uint16(0x7C00)
# Rows are encoded so many bytes at a time, to keep what is computed on the way small.
_BLOCK_BYTES = 1 << 24
# And vectors are decoded in pieces that stay in a core's cache.
_PIECE_BYTES = 1 << 20


def scales_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the scales of one row of int8 storage.

    Examples
    --------
    >>> scales_shape((3, 2, 2)), scales_shape((130,))
    ((3,), (3,))
    """
    return (-(-shape[0] // BLOCK),) if len(shape) == 1 else shape[:1]


def row_type(storage: str, shape: tuple[int, ...]) -> np.dtype[Any]:
    """Type of a stored row in memory; its bytes are those that the checksum covers.

    Parameters
    ----------
    storage : str
        Storage class, a name of `TENSORS`.
    shape : tuple of int
        Shape of a row once it is read; ``(D, H, W)`` or ``(d,)`` for int8.

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
    shapes = {"scales": scales_shape(shape), "rows": shape}
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
        Real numbers; maps ``(n, D, H, W)`` or vectors ``(n, d)`` for int8.
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


def _quantise(rows: NDArray[np.float32], out: NDArray[Any]) -> None:
    grouped = _grouped(rows)
    highest = np.abs(grouped).max(axis=2)
    highest[highest < _SMALLEST] = 0
    scales = highest / _LEVELS
    out["scales"] = scales
    quotients = grouped / np.where(scales == 0, np.float32(np.inf), scales)[..., None]
    levels = np.rint(quotients, out=quotients).reshape(len(rows), -1)
    out["rows"] = levels[:, : rows[0].size].reshape(rows.shape)


def _grouped(rows: NDArray[Any]) -> NDArray[Any]:
    """Values that share a scale, ``(n, n_scales, …)``; zeros fill the last block of a vector."""
    n, n_scales = len(rows), scales_shape(rows.shape[1:])[0]
    if rows.ndim == 2 and rows.shape[1] % BLOCK:
        rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % BLOCK)))
    return rows.reshape(n, n_scales, -1)


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
    elif tensors["rows"].ndim == 2:
        _decode_vectors(out, places, tensors["rows"], tensors["scales"])
    else:
        scales = tensors["scales"][..., None, None]
        # Each straight into its place: a map is large enough to be worth a call.
        for place, values, scale in zip(places.tolist(), tensors["rows"], scales, strict=True):
            np.multiply(values, scale, out=out[place], casting="unsafe")


def _decode_vectors(
    out: NDArray[Any], places: NDArray[np.intp], levels: NDArray[Any], scales: NDArray[Any]
) -> None:
    n, width = levels.shape
    step = max(1, _PIECE_BYTES // (4 * width))
    for start in range(0, n, step):
        part = slice(start, start + step)
        values = _grouped(levels[part].astype(np.float32))
        values *= scales[part, :, None]
        out[places[part]] = values.reshape(len(values), -1)[:, :width]


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


def stored_values(rows: NDArray[Any], storage: str) -> NDArray[Any]:
    """What comes back of some rows from the store, of shape (n, ...).

    Parameters
    ----------
    rows : array of shape (n, ...)
        The rows.
    storage : str
        Storage class.
    """
    stored = encode(rows, storage)
    names = stored.dtype.names
    found = np.empty(rows.shape, VALUE_TYPES[storage])
    tensors = {name: stored[name] for name in names} if names else {"rows": stored}
    decode_into(found, np.arange(len(rows)), tensors)
    return found


def cosines(rows: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Cosine of each row to another, such as what comes back of it from the store.

    Parameters
    ----------
    rows, others : array of shape (n, ...)
        The rows. Of two rows of zeros it is 1.
    """
    found = np.ones(len(rows))
    for i, (one, other) in enumerate(zip(rows, others, strict=True)):
        a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
        if norms := np.sqrt((a @ a) * (b @ b)):
            found[i] = a @ b / norms
    return found
