"""Oriented boxes: how much they overlap, and what that means for a detection."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["oriented_overlaps"]

Array = NDArray[Any]


def oriented_overlaps(boxes: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of every oriented box with every other one.

    It is exact, also where boxes are almost the same.

    Parameters
    ----------
    boxes : array of shape (m, 5)
        Centre x and y, two sides, px, and the angle of the first in degrees, counter-clockwise;
        see `transferkit.images.oriented`.
    others : array of shape (k, 5)
        The other ones.

    Returns
    -------
    ndarray of shape (m, k)
        From 0 to 1; 0 where both have no area.

    Raises
    ------
    ValueError
        If a shape is another one.

    Examples
    --------
    >>> oriented_overlaps([[5, 5, 8, 2, 0]], [[5, 5, 8, 2, -90], [5, 5, 4, 1, 0]]).round(3).tolist()
    [[0.143, 0.25]]
    """
    import torch

    from transferkit.metrics._clipping import oriented_ious

    arrays = [np.asarray(given, dtype=np.float64) for given in (boxes, others)]
    for array in arrays:
        if array.ndim != 2 or array.shape[1] != 5:
            raise ValueError(
                f"oriented boxes of shape {array.shape}; give centre x and y, two sides and an "
                "angle as (m, 5)"
            )
    one, other = map(torch.from_numpy, arrays)
    ious: NDArray[np.float64] = oriented_ious(one, other).numpy()
    return ious
