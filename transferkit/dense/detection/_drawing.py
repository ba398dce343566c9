"""A draw of the boxes that a stage learns from, so that background doesn't outnumber objects."""

from __future__ import annotations

import torch
from torch import Tensor

from transferkit.dense.detection._assignment import BACKGROUND

__all__ = ["drawn"]


def drawn(assigned: Tensor, n: int, share: float) -> Tensor:
    """Draw boxes to learn from: objects' ones up to a share, and background for the rest.

    Girshick (2015), "Fast R-CNN", section 2.3.

    Parameters
    ----------
    assigned : Tensor of int64, shape (m,)
        Object of each box, or background, or left out; see `by_iou`.
    n : int
        How many are drawn: always just so many, if there are as many boxes. Where background is
        lacking, more objects' boxes come in its place, and then such as are left out.
    share : float
        Of objects' boxes.

    Returns
    -------
    Tensor of int64, shape (min(n, m),)
        Positions.

    Examples
    --------
    >>> sorted(drawn(torch.tensor([-2, 0, -1, -1, -2, -2]), 3, 0.5).tolist())
    [1, 2, 3]
    """
    # Whole numbers are ranks, and the parts below 1 decide within a rank.
    chance = torch.rand(assigned.shape, device=assigned.device)
    is_object = assigned >= 0
    chance = chance + 1.0 * (is_object | (assigned == BACKGROUND))
    first = torch.where(is_object, chance, -1.0).topk(min(int(n * share), len(assigned))).indices
    chance[assigned == BACKGROUND] += 1.0
    is_first = torch.zeros_like(is_object)
    is_first[first] = True
    chance = chance + 2.0 * (is_first & is_object)
    return chance.topk(min(n, len(assigned))).indices
