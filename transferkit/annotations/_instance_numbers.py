"""Objects of an instance mask, in which every pixel holds the number of its object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from transferkit.annotations._pixels import pixels_of
from transferkit.annotations._regions import Region
from transferkit.images import ImageError

__all__ = ["numbers_of", "regions_of_numbers"]

_PALETTE_VOID = 255


def numbers_of(source: Path) -> NDArray[Any]:
    """Number of each pixel's object, 0 for none.

    In masks with a palette 255 is none either: VOC has it along the edges of objects.

    Raises
    ------
    ImageError
        If the file can't be read, or its numbers aren't exact.
    """
    found = pixels_of(source)
    if found.kind == "colour":
        raise ImageError("it holds colours; save it with one number per object, in 8 or 16 bits")
    if found.is_lossy:
        raise ImageError("it is a JPEG, whose numbers aren't exact; save it as PNG")
    if found.kind == "palette":
        return np.where(found.values == _PALETTE_VOID, 0, found.values)
    return found.values


def regions_of_numbers(numbers: NDArray[Any]) -> dict[int, Region]:
    """Pixels of each number above 0, in ascending order.

    Parameters
    ----------
    numbers : ndarray of int, shape (height, width)
        From `numbers_of`.

    Examples
    --------
    >>> found = regions_of_numbers(np.array([[0, 2], [7, 2]]))
    >>> [(number, region.box) for number, region in found.items()]
    [(2, (1, 0, 2, 2)), (7, (0, 1, 1, 2))]
    """
    regions = {}
    for number, place in enumerate(find_objects(numbers), start=1):
        if place is not None:
            rows, columns = place
            regions[number] = Region(rows.start, columns.start, numbers[place] == number)
    return regions
