"""Run lengths of masks as COCO writes them: plain numbers, or packed into a text.

Pixels are counted column by column from the left, beginning with those outside of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["mask_of_runs", "pack_runs", "runs_of_mask", "unpack_runs"]

# Characters hold five bits each, from "0" on, the lowest first; the sixth says that more follow.
_FIRST, _MORE, _BITS = 48, 0x20, 0x1F
# Seven of them hold what no image exceeds, with a sign.
_MAX_CHARACTERS = 7


def runs_of_mask(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the run lengths of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (height, width)
        Pixels of an object.

    Examples
    --------
    >>> runs_of_mask(np.array([[False, True], [True, True]]))
    array([1, 3])
    """
    flat = np.concatenate([[False], np.asarray(mask, dtype=bool).ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], changes, [mask.size]])).astype(np.int64)


def mask_of_runs(runs: Sequence[int] | NDArray[Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask of run lengths.

    Parameters
    ----------
    runs : sequence of int
        Numbers of pixels outside, inside, outside … of the object.
    size : (int, int)
        Height and width, px.

    Raises
    ------
    ValueError
        If the runs aren't those of a mask of this size.

    Examples
    --------
    >>> mask_of_runs([1, 3], (2, 2))
    array([[False,  True],
           [ True,  True]])
    """
    lengths = np.asarray(runs)
    if lengths.ndim != 1 or (lengths.size and lengths.dtype.kind not in "iu"):
        raise ValueError("run lengths aren't whole numbers")
    height, width = size
    # In floats: a sum of hostile integers may come round to the right one.
    total = float(lengths.astype(np.float64).sum())
    if (lengths < 0).any() or total != height * width:
        raise ValueError(
            f"run lengths make {total:,.0f} px, and an image of {height} × {width} has "
            f"{height * width:,}"
        )
    inside = np.arange(len(lengths)) % 2 == 1
    flat: NDArray[np.bool_] = np.repeat(inside, lengths.astype(np.int64))
    return flat.reshape(width, height).T


def pack_runs(runs: NDArray[np.int64]) -> str:
    """Write run lengths as COCO's text.

    From the fourth on, a run is written as its difference from the one before the last.

    Examples
    --------
    >>> pack_runs(np.array([1, 3])), pack_runs(np.array([6, 1, 40, 4, 13]))
    ('13', '61X13UO')
    """
    rest = np.asarray(runs, dtype=np.int64).copy()
    rest[3:] -= np.asarray(runs, dtype=np.int64)[1:-2]
    characters, is_written = [], []
    goes_on = np.ones(len(rest), dtype=bool)
    while goes_on.any():
        low = rest & _BITS
        rest >>= 5
        is_written.append(goes_on)
        # Done when what is left is the sign that the last five bits tell by their highest.
        goes_on = goes_on & (rest != np.where(low & 0x10, -1, 0))
        characters.append(low + _MORE * goes_on + _FIRST)
    if not characters:
        return ""
    chosen = np.stack(characters, axis=1)[np.stack(is_written, axis=1)]
    return bytes(chosen.astype(np.uint8)).decode("ascii")


def unpack_runs(text: str) -> NDArray[np.int64]:
    """Read run lengths from COCO's text.

    Raises
    ------
    ValueError
        If the text isn't such.

    Examples
    --------
    >>> unpack_runs("61X13UO")
    array([ 6,  1, 40,  4, 13])
    """
    values = np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int64) - _FIRST
    if not len(values):
        return values
    if values.min() < 0 or values.max() > 63 or values[-1] & _MORE:
        raise ValueError("packed run lengths are damaged")
    ends = np.flatnonzero(values & _MORE == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() >= _MAX_CHARACTERS:
        raise ValueError("packed run lengths are damaged: a number is too large")
    place = np.arange(len(values)) - np.repeat(starts, ends - starts + 1)
    runs = np.add.reduceat((values & _BITS) << (5 * place), starts)
    runs -= np.where(values[ends] & 0x10, 1 << (5 * (ends - starts + 1)), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
