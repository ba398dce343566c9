"""Intersection over union of oriented boxes: one rectangle clipped by another, exactly.

In the frame of the one box, whose sides are then those of the axes, the other is a convex polygon.
Its area within a strip ``-b ≤ y ≤ b`` is that below its upper edges less that below its lower
ones, with y held between -b and b: of each edge, the integral of a function that is linear in
three parts. So there are no corners to find and none to put in order, as Sutherland and Hodgman's
clipping (1974) has to, and edges that (almost) coincide are no special case: the area is a
continuous function of the boxes in every step that it is computed by.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["oriented_ious", "paired_oriented_ious"]

# Corners in shares of half the sides, around the box.
_SIGNS = ((-1, -1), (1, -1), (1, 1), (-1, 1))
# Pairs that are computed at a time, so that the numbers in between stay in the processor's cache.
_PAIRS = 50_000


def paired_oriented_ious(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of each oriented box with the other one in its place.

    It is computed in float64, and has finite gradients everywhere.

    Parameters
    ----------
    boxes, others : Tensor of shape (..., 5)
        Centre x and y, two sides of 0 or more, px, and the angle of the first in degrees,
        counter-clockwise; see `transferkit.images.oriented`. Their shapes are broadcast.

    Returns
    -------
    Tensor of shape (...)
        From 0 to 1; 0 where both have no area.

    Examples
    --------
    >>> box = torch.tensor([5.0, 5, 8, 2, 0])
    >>> others = torch.tensor([[5.0, 5, 8, 2, 90], [5, 5, 4, 1, 0], [20, 5, 8, 2, 0]])
    >>> paired_oriented_ious(box, others)
    tensor([0.1429, 0.2500, 0.0000])
    """
    dtype = torch.promote_types(torch.promote_types(boxes.dtype, others.dtype), torch.float32)
    one, other = _exact(boxes), _exact(others)
    shared = _shared_areas(one, other)
    whole = one[..., 2] * one[..., 3] + other[..., 2] * other[..., 3] - shared
    do_meet = shared > 0
    ious = torch.where(do_meet, shared / torch.where(do_meet, whole, 1.0), 0.0)
    return ious.clamp(max=1).to(dtype)


def oriented_ious(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of every oriented box with every other one.

    Parameters
    ----------
    boxes : Tensor of shape (..., m, 5)
        As in `paired_oriented_ious`.
    others : Tensor of shape (..., k, 5)
        The other ones.

    Returns
    -------
    Tensor of shape (..., m, k)
        From 0 to 1. Only pairs whose upright boxes meet are computed, unless the function is
        compiled: then shapes can't depend on what the boxes are.

    Examples
    --------
    >>> oriented_ious(torch.tensor([[5.0, 5, 8, 2, 0]]), torch.tensor([[5.0, 5, 8, 2, -90]]))
    tensor([[0.1429]])
    """
    one, other = boxes[..., :, None, :], others[..., None, :, :]
    if torch.compiler.is_compiling():
        return paired_oriented_ious(one, other)
    is_near = _do_meet(boxes, others)
    near = is_near.nonzero(as_tuple=True)
    pairs = [each.expand(*is_near.shape, 5)[near] for each in (one, other)]
    parts = zip(*(torch.split(each, _PAIRS) for each in pairs), strict=True)
    ious = torch.cat([paired_oriented_ious(*part) for part in parts])
    return ious.new_zeros(is_near.shape).index_put(near, ious)


def _exact(values: Tensor) -> Tensor:
    # Apple's GPUs have no float64.
    return values.float() if values.device.type == "mps" else values.double()


def _do_meet(boxes: Tensor, others: Tensor) -> Tensor:
    """Whether the upright boxes around oriented ones meet, of every pair ``(..., m, k)``."""
    (low, high), (other_low, other_high) = _edges(boxes.detach()), _edges(others.detach())
    result = torch.ones((), dtype=torch.bool, device=boxes.device)
    # One axis after the other: the pairs of many boxes are many numbers.
    for axis in (0, 1):
        result = result & (low[..., :, None, axis] <= other_high[..., None, :, axis])
        result = result & (high[..., :, None, axis] >= other_low[..., None, :, axis])
    return result


def _edges(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Left and top, and right and bottom edges of upright boxes around oriented ones."""
    x, y, length, width, angle = _exact(boxes).unbind(-1)
    turn = torch.deg2rad(angle)
    cos, sin = turn.cos().abs() / 2, turn.sin().abs() / 2
    reach = torch.stack([length * cos + width * sin, length * sin + width * cos], -1)
    centre, reach = torch.stack([x, y], -1), reach * (1 + 1e-9)  # a hair more, for rounding
    return centre - reach, centre + reach


def _shared_areas(boxes: Tensor, others: Tensor) -> Tensor:
    """Area of the part of each of the boxes that lies in the other one, px²; float64."""
    turn = torch.deg2rad(others[..., 4])
    cos, sin = turn.cos(), turn.sin()
    # Relative to the other's centre, so that far from the origin no digits are lost.
    right, down = (boxes[..., :2] - others[..., :2]).unbind(-1)
    x, y = right * cos - down * sin, right * sin + down * cos
    between = torch.deg2rad(boxes[..., 4] - others[..., 4])
    cos, sin = between.cos(), between.sin()
    length, width = boxes[..., 2] / 2, boxes[..., 3] / 2
    along, across = (length * cos, -length * sin), (width * sin, width * cos)
    corners = [
        (x + s * along[0] + t * across[0], y + s * along[1] + t * across[1]) for s, t in _SIGNS
    ]
    a, b = others[..., 2] / 2, others[..., 3] / 2
    below = [_below(corners[i], corners[(i + 1) % 4], a, b) for i in range(4)]
    # Downwards is where y grows, and the first edge the upper one.
    return -(below[0] + below[1] + below[2] + below[3])


def _below(
    start: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor], a: Tensor, b: Tensor
) -> Tensor:
    """Integral of y over x along an edge, with x from -a to a, and y held from -b to b."""
    (x0, y0), (x1, y1) = start, end
    run = x1 - x0
    is_steep = run.abs() < 1e-30
    slope = (y1 - y0) / torch.where(is_steep, 1.0, run)
    slope = torch.where(is_steep, 0.0, slope)
    first, last = (torch.minimum(torch.maximum(x, -a), a) for x in (x0, x1))
    y0, y1 = y0 + (first - x0) * slope, y1 + (last - x1) * slope
    # Held from -b to b, y is half of |y + b| - |y - b|.
    held = (_mean_size(y0 + b, y1 + b) - _mean_size(y0 - b, y1 - b)) / 2
    return (last - first) * held


def _mean_size(u: Tensor, v: Tensor) -> Tensor:
    """Mean of |y| where y runs evenly from u to v."""
    both = u.abs() + v.abs()
    crossing = (u * u + v * v) / (2 * both.clamp(min=1e-30))
    return torch.where((u < 0) == (v < 0), both / 2, crossing)
