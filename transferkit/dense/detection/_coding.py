"""What a head regresses: a box told by an anchor, or by its distances from a point."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["boxes_of_deltas", "boxes_of_distances", "cut_off", "deltas_of", "distances_of"]

# Largest logarithm of the factor from an anchor's side to a box's; exp of more overflows in half
# precision and is no sensible box: Girshick's Detectron has the same bound.
_MOST_GROWTH = math.log(1000 / 16)


def deltas_of(boxes: Tensor, anchors: Tensor, scale: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Tell boxes by anchors: shift over the anchor's side, and the logarithm of growth.

    Ren, He, Girshick, Sun (2015), "Faster R-CNN", equation 2.

    Parameters
    ----------
    boxes, anchors : Tensor of shape (..., 4)
        Left, top, right and bottom edges, px, of an area above 0.
    scale : (float, float), default=(1, 1)
        What shifts and growths are multiplied by.

    Returns
    -------
    Tensor of shape (..., 4)
        dx, dy, dw, dh.
    """
    sides, own = boxes[..., 2:] - boxes[..., :2], anchors[..., 2:] - anchors[..., :2]
    shift = (boxes[..., 2:] + boxes[..., :2] - anchors[..., 2:] - anchors[..., :2]) / 2 / own
    return torch.cat((shift * scale[0], (sides / own).log() * scale[1]), -1)


def boxes_of_deltas(
    deltas: Tensor, anchors: Tensor, scale: tuple[float, float] = (1.0, 1.0)
) -> Tensor:
    """Undo `deltas_of`; growths are held below 62.5, so that the boxes are finite.

    Examples
    --------
    >>> anchors = torch.tensor([[0.0, 0.0, 8.0, 4.0]])
    >>> boxes_of_deltas(torch.tensor([[0.5, 0.0, 0.0, math.log(2)]]), anchors).tolist()
    [[4.0, -2.0, 12.0, 6.0]]
    """
    own = anchors[..., 2:] - anchors[..., :2]
    centres = (anchors[..., 2:] + anchors[..., :2]) / 2 + deltas[..., :2] / scale[0] * own
    half = (deltas[..., 2:] / scale[1]).clamp(max=_MOST_GROWTH).exp() * own / 2
    return torch.cat((centres - half, centres + half), -1)


def distances_of(boxes: Tensor, points: Tensor) -> Tensor:
    """Distances from points to the left, top, right and bottom edges of boxes, px.

    Tian, Shen, Chen, He (2019), "FCOS", equation 1. Below 0 where a point is outside.

    Parameters
    ----------
    boxes : Tensor of shape (..., 4)
        Edges, px.
    points : Tensor of shape (..., 2)
        x and y, px.
    """
    return torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), -1)


def boxes_of_distances(distances: Tensor, points: Tensor) -> Tensor:
    """Undo `distances_of`.

    Examples
    --------
    >>> boxes_of_distances(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([5.0, 5.0])).tolist()
    [4.0, 3.0, 8.0, 9.0]
    """
    return torch.cat((points - distances[..., :2], points + distances[..., 2:]), -1)


def cut_off(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut boxes off at the edges of the input.

    Parameters
    ----------
    boxes : Tensor of shape (..., 4)
        Edges, px.
    size : (int, int)
        Height and width of the input, px.
    """
    height, width = size
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), -1)
