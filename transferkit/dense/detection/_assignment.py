"""Which anchors and points learn which object.

An assignment is an int64 tensor with a number for each anchor or point: the position of its
object in the target, or `BACKGROUND`, or `LEFT_OUT` for one that learns nothing. An ignored object
is nobody's object; what lies over it and has no other is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

from transferkit.dense.detection._coding import distances_of
from transferkit.dense.detection._head import Target

__all__ = [
    "BACKGROUND",
    "LEFT_OUT",
    "by_iou",
    "by_statistics",
    "covered",
    "known_objects",
]

BACKGROUND = -1
"""Of an anchor or point that has no object."""
LEFT_OUT = -2
"""Of an anchor or point that is neither an object's nor background."""

# An anchor of which this share lies over an ignored object is left out.
_COVERED = 0.5
# Share of an IoU that may be rounding.
_TOLERANCE = 1e-4


def known_objects(target: Target) -> Tensor:
    """Positions of the objects that are learnt: those that have a class."""
    return (target["labels"] > 0).nonzero()[:, 0]


def covered(boxes: Tensor, target: Target) -> Tensor:
    """Whether at least half of each box lies over one of the ignored objects.

    It is the share of the box and not the IoU: what is ignored may be a crowd, in which each
    object is small.

    Parameters
    ----------
    boxes : Tensor of shape (n, 4)
        Edges, px.
    target : Target
        With ignored objects or none.

    Returns
    -------
    Tensor of bool, shape (n,)
    """
    ignored = target["boxes"][target["labels"] < 0]
    low = torch.maximum(boxes[:, None, :2], ignored[:, :2])
    high = torch.minimum(boxes[:, None, 2:], ignored[:, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return (shared >= _COVERED * area[:, None].clamp(min=1e-6)).any(1)


def by_iou(anchors: Tensor, target: Target, *, low: float, high: float, keeps_best: bool) -> Tensor:
    """Give each anchor the object with which it overlaps most.

    Ren, He, Girshick, Sun (2015), "Faster R-CNN", section 3.1.2.

    Parameters
    ----------
    anchors : Tensor of shape (n, 4)
        Or boxes that a head proposes, px.
    target : Target
        Of the image.
    low : float
        Below this IoU with every object an anchor is background.
    high : float
        From this IoU on it is the object's; between both it is left out.
    keeps_best : bool
        Whether an object has the anchors of its highest IoU even below `high`.

    Returns
    -------
    Tensor of int64, shape (n,)
        See the module.

    Examples
    --------
    >>> anchors = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 4], [8, 0, 16, 8], [8, 8, 16, 16]])
    >>> boxes = torch.tensor([[0.0, 0, 8, 9], [8.0, 8, 16, 16]])
    >>> target = Target(boxes=boxes, labels=torch.tensor([1, -1]))
    >>> by_iou(anchors, target, low=0.4, high=0.5, keeps_best=True).tolist()
    [0, -2, -1, -2]
    """
    objects = known_objects(target)
    result = torch.full((len(anchors),), BACKGROUND, device=anchors.device)
    if len(objects):
        ious = box_iou(target["boxes"][objects], anchors)
        most, at = ious.max(0)
        result[most >= low] = LEFT_OUT
        result = torch.where(most >= high, objects[at], result)
        if keeps_best:
            best = ious.amax(1, keepdim=True)
            owner = (ious == best) & (best > 0)
            # An anchor that is the best one of several objects goes to the one it covers most.
            result = torch.where(owner.any(0), objects[(ious * owner).argmax(0)], result)
    return torch.where((result == BACKGROUND) & covered(anchors, target), LEFT_OUT, result)


def by_statistics(anchors: Sequence[Tensor], target: Target, *, n_nearest: int) -> Tensor:
    """Give each object those of the nearest anchors that overlap with it more than most.

    Of each level, the anchors nearest to the object's centre are looked at; of all these, the
    object has those inside of it whose IoU is the mean and one standard deviation at least. So
    the threshold follows from the object, and is no setting.

    Zhang, Chi, Yao, Lei, Li (2020), "Bridging the gap between anchor-based and anchor-free
    detection via adaptive training sample selection", algorithm 1.

    Parameters
    ----------
    anchors : sequence of Tensor of shape (n, 4)
        Of each level, one for each cell, px.
    target : Target
        Of the image.
    n_nearest : int
        Anchors of each level that are looked at.

    Returns
    -------
    Tensor of int64, shape (sum of n,)
        See the module.
    """
    joined = torch.cat(list(anchors))
    points = (joined[:, :2] + joined[:, 2:]) / 2
    inside = (distances_of(target["boxes"], points[:, None]) > 0).all(2)
    over_ignored = (inside & (target["labels"] < 0)).any(1)
    objects = known_objects(target)
    result = torch.full((len(joined),), BACKGROUND, device=joined.device)
    if len(objects):
        boxes = target["boxes"][objects]
        away = torch.cdist(points, (boxes[:, :2] + boxes[:, 2:]) / 2)
        at, start = [], 0
        for level in torch.split(away, [len(each) for each in anchors]):
            nearest = level.topk(min(n_nearest, len(level)), dim=0, largest=False)
            at.append(nearest.indices + start)
            start += len(level)
        near = torch.cat(at)
        ious = box_iou(joined, boxes)
        of_near = ious.gather(0, near)
        # Anchors around a small object have the same IoU. On one level it is the threshold itself,
        # on two as well, and which of both is larger must not be up to the last digit.
        least = (of_near.mean(0) + of_near.std(0, correction=0)) * (1 - _TOLERANCE)
        is_near = torch.zeros_like(ious, dtype=torch.bool).scatter(0, near, True)
        is_positive = is_near & inside[:, objects] & (ious >= least)
        most, owner = torch.where(is_positive, ious, -1.0).max(1)
        result = torch.where(most >= 0, objects[owner], result)
    return torch.where((result == BACKGROUND) & over_ignored, LEFT_OUT, result)
