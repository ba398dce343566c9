"""Run lengths of masks as COCO writes them: plain numbers, or packed into a text.

Pixels are counted column by column from the left, beginning with those outside of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations._regions import Region, region_of_mask

__all__ = [
    "mask_of_runs",
    "pack_runs",
    "region_of_runs",
    "runs_of_mask",
    "runs_of_region",
    "unpack_runs",
]

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


def runs_of_region(region: Region, size: tuple[int, int]) -> NDArray[np.int64]:
    """Return the run lengths of an object in an image of some height and width, px.

    Examples
    --------
    >>> runs_of_region(Region(0, 1, np.array([[True], [True]])), (2, 2))
    array([2, 2])
    """
    height, width = size
    n_rows, n_columns = region.pixels.shape
    # Each column between pixels that aren't the object's, so that a run ends where it does.
    columns = np.zeros((n_columns, n_rows + 2), dtype=np.int8)
    columns[:, 1:-1] = region.pixels.T
    steps = np.diff(columns, axis=1)
    offset = region.top + height * region.left
    begin, end = (
        column * height + row + offset for column, row in (np.nonzero(steps == s) for s in (1, -1))
    )
    changes = np.stack([begin, end], axis=1).ravel()
    # A run that goes on at the top of the next column is one.
    is_kept, is_same = np.ones(len(changes), dtype=bool), changes[1:] == changes[:-1]
    is_kept[1:] &= ~is_same
    is_kept[:-1] &= ~is_same
    changes = changes[is_kept & (changes < height * width)]
    return np.diff(np.concatenate([[0], changes, [height * width]])).astype(np.int64)


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
    return _filled(_checked(runs, size), size[0])


def region_of_runs(runs: Sequence[int] | NDArray[Any], size: tuple[int, int]) -> Region:
    """Return the object of run lengths; only the columns where it stands are filled.

    Parameters
    ----------
    runs, size
        As in `mask_of_runs`.

    Raises
    ------
    ValueError
        If the runs aren't those of a mask of this size.

    Examples
    --------
    >>> found = region_of_runs([2, 2], (2, 2))
    >>> found.box, found.pixels.tolist()
    ((1, 0, 2, 2), [[True], [True]])
    """
    lengths, height = _checked(runs, size), size[0]
    ends = np.cumsum(lengths)
    inside = np.flatnonzero((np.arange(len(lengths)) % 2 == 1) & (lengths > 0))
    if not len(inside):
        return Region(0, 0, np.zeros((0, 0), dtype=bool))
    left = int(ends[inside[0]] - lengths[inside[0]]) // height
    right = -(-int(ends[inside[-1]]) // height)
    cut = np.diff(ends.clip(left * height, right * height), prepend=left * height)
    part = region_of_mask(_filled(cut, height))
    return Region(part.top, part.left + left, part.pixels)


def _checked(runs: Sequence[int] | NDArray[Any], size: tuple[int, int]) -> NDArray[np.int64]:
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
    return lengths.astype(np.int64)


def _filled(lengths: NDArray[np.int64], height: int) -> NDArray[np.bool_]:
    """Mask of run lengths that fill whole columns."""
    flat: NDArray[np.bool_] = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return flat.reshape(-1, height).T


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
