"""Which cells learn which oriented box; see `transferkit.dense.detection._assignment`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from transferkit.dense.detection._assignment import BACKGROUND, LEFT_OUT, known_objects
from transferkit.dense.oriented._coding import local_points
from transferkit.dense.oriented._head import OrientedTarget
from transferkit.metrics._clipping import paired_oriented_ious

__all__ = ["by_statistics"]

# Share of an IoU that may be rounding.
_TOLERANCE = 1e-4


def by_statistics(
    points: Sequence[Tensor], sides: Sequence[float], target: OrientedTarget, *, n_nearest: int
) -> Tensor:
    """Give each object those of the nearest cells whose squares overlap with it more than most.

    Zhang et al. (2020), algorithm 1, as `transferkit.dense.detection._assignment.by_statistics`
    has it for upright boxes: a cell has to lie inside of the turned box, and the overlap is that
    with the turned box. The cell that is nearest to an object's centre counts as inside, so that
    an object that is narrower than the cells are apart is learnt too.

    Parameters
    ----------
    points : sequence of Tensor of shape (n, 2)
        Of each level, the cells' x and y, px.
    sides : sequence of float
        Of each level, the side of the square that a cell stands for, px.
    target : OrientedTarget
        Of the image.
    n_nearest : int
        Cells of each level that are looked at.

    Returns
    -------
    Tensor of int64, shape (sum of n,)
        See `transferkit.dense.detection._assignment`.
    """
    joined = torch.cat(list(points))
    boxes, labels = target["oriented"], target["labels"]
    result = torch.full((len(joined),), BACKGROUND, device=joined.device)
    over_ignored = (local_points(joined[:, None], boxes[labels < 0]).abs() < 1).all(2).any(1)
    result[over_ignored] = LEFT_OUT
    objects = known_objects(target)
    if not len(objects):
        return result
    near, squares = _nearest(points, sides, boxes[objects, :2], n_nearest)
    known = boxes[objects].expand(len(near), -1, 5)
    overlaps = paired_oriented_ious(squares, known)
    inside = (local_points(joined[near], known).abs() < 1).all(2) | _is_first(near, joined, known)
    least = overlaps.mean(0) + overlaps.std(0, correction=0)
    # Cells around a small object have the same overlap. Whether it reaches the mean must not be
    # up to the last digit.
    is_positive = inside & (overlaps >= least * (1 - _TOLERANCE))
    # A cell that several objects want goes to the one that it covers most.
    wanted = torch.full((len(joined), len(objects)), -1.0, device=joined.device)
    wanted.scatter_(0, near, torch.where(is_positive, overlaps, -1.0))
    most, owner = wanted.max(1)
    return torch.where(most >= 0, objects[owner], result)


def _nearest(
    points: Sequence[Tensor], sides: Sequence[float], centres: Tensor, n: int
) -> tuple[Tensor, Tensor]:
    """Cells of each level nearest to some centres: their numbers ``(k, m)``, and their squares."""
    at, squares, start = [], [], 0
    for level, side in zip(points, sides, strict=True):
        nearest = torch.cdist(level, centres).topk(min(n, len(level)), dim=0, largest=False).indices
        shape = torch.tensor([side, side, 0.0], device=level.device)
        squares.append(torch.cat((level[nearest], shape.expand(*nearest.shape, 3)), -1))
        at.append(nearest + start)
        start += len(level)
    return torch.cat(at), torch.cat(squares)


def _is_first(near: Tensor, points: Tensor, boxes: Tensor) -> Tensor:
    """Whether a cell is the nearest one to its object's centre, ``(k, m)``."""
    away = (points[near] - boxes[..., :2]).square().sum(2)
    return away == away.amin(0)
