"""What a head regresses of an oriented box: seven numbers that change as smoothly as the box does.

A rectangle of sides ``l`` and ``w`` and angle t is told by

- the shift of its centre, and ``s``, the logarithm of ``sqrt(l w)``, both over what the level
  reaches;
- the stretch ``log(l / w)`` times ``(cos 2t, sin 2t)``, which is 0 for a square and the same
  after half a turn;
- the direction ``(cos 4t, sin 4t)``, which is the same after a quarter of a turn, as a square is.

The direction alone tells the ways of both sides, and the stretch along one of them how much
longer that side is. So no number jumps anywhere: neither where the angle leaves its range, nor
where a rectangle passes through a square and its longer side becomes the other one. The stretch
tells the ways of the sides too, the better the longer the rectangle is, and is easier to learn;
as a complex number its square is added to the direction. The angles of double and fourfold
frequency are those of Yu and Da (2023), "Phase-shifting coder: predicting accurate orientation in
oriented object detection", equations 7 and 8; the stretch in place of two sides is what makes the
sides as smooth as the angle.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["N_CODES", "canonical", "codes_of", "local_points", "rectangles_of"]

N_CODES = 7
"""Numbers of a box."""

# What the square of the stretch counts beside the direction: at sides of 2 to 1 four times as much.
_STRETCH_WEIGHT = 8.0
# Largest logarithms of a size over the level's reach, and of the ratio of sides; more overflows.
_MOST_GROWTH, _MOST_STRETCH = 6.0, 5.0


def codes_of(boxes: Tensor, points: Tensor, reach: Tensor) -> Tensor:
    """Tell boxes by numbers; see the module.

    Parameters
    ----------
    boxes : Tensor of shape (..., 5)
        As `transferkit.images.oriented` has them, px.
    points : Tensor of shape (..., 2)
        x and y of the cells that tell of them, px.
    reach : Tensor of shape (...)
        Unit of the cells' levels, px.

    Returns
    -------
    Tensor of shape (..., 7)
    """
    sides = boxes[..., 2:4].clamp(min=1e-3)
    turn = boxes[..., 4].deg2rad()
    stretch = (sides[..., 0] / sides[..., 1]).log()
    size = sides.log().mean(-1) - reach.log()
    shift = (boxes[..., :2] - points) / reach[..., None]
    codes = (
        size,
        stretch * (2 * turn).cos(),
        stretch * (2 * turn).sin(),
        (4 * turn).cos(),
        (4 * turn).sin(),
    )
    return torch.cat((shift, torch.stack(codes, -1)), -1)


def rectangles_of(codes: Tensor, points: Tensor, reach: Tensor) -> Tensor:
    """Undo `codes_of`, but for which of the sides comes first: see `canonical`.

    Parameters
    ----------
    codes : Tensor of shape (..., 7)
        Sizes and stretches are held below what is no sensible box.
    points, reach
        As for `codes_of`.

    Returns
    -------
    Tensor of shape (..., 5)
        Centre, two sides, px, and the angle of the first in degrees, from -45 to 45.

    Examples
    --------
    >>> boxes, point = torch.tensor([[5.0, 6.0, 8.0, 2.0, 80.0]]), torch.tensor([[4.0, 4.0]])
    >>> codes = codes_of(boxes, point, torch.tensor([4.0]))
    >>> rectangles_of(codes, point, torch.tensor([4.0])).round(decimals=3).tolist()
    [[5.0, 6.0, 2.0, 8.0, -10.0]]
    """
    x, y = codes[..., 3], codes[..., 4]
    cos = codes[..., 5] + _STRETCH_WEIGHT * (x * x - y * y)
    sin = codes[..., 6] + _STRETCH_WEIGHT * 2 * x * y
    turn = torch.atan2(sin, cos) / 4
    along = x * (2 * turn).cos() + y * (2 * turn).sin()
    along = along.clamp(-_MOST_STRETCH, _MOST_STRETCH) / 2
    size = codes[..., 2].clamp(-_MOST_GROWTH, _MOST_GROWTH) + reach.log()
    centre = points + codes[..., :2] * reach[..., None]
    rest = torch.stack(((size + along).exp(), (size - along).exp(), turn.rad2deg()), -1)
    return torch.cat((centre, rest), -1)


def canonical(boxes: Tensor) -> Tensor:
    """Put the longer side first; see `transferkit.images.oriented`.

    Parameters
    ----------
    boxes : Tensor of shape (..., 5)
        With angles from -90 to 90.

    Examples
    --------
    >>> canonical(torch.tensor([[5.0, 6.0, 2.0, 8.0, -10.0], [5.0, 6.0, 2.0, 8.0, 10.0]])).tolist()
    [[5.0, 6.0, 8.0, 2.0, 80.0], [5.0, 6.0, 8.0, 2.0, -80.0]]
    """
    x, y, first, second, angle = boxes.unbind(-1)
    angle = torch.where(second > first, angle + 90, angle)
    angle = torch.where(angle >= 90, angle - 180, angle)
    longer, shorter = torch.maximum(first, second), torch.minimum(first, second)
    return torch.stack((x, y, longer, shorter, angle), -1)


def local_points(points: Tensor, boxes: Tensor) -> Tensor:
    """Where points lie in boxes: along the first side and the second, -1 and 1 at their ends.

    Parameters
    ----------
    points : Tensor of shape (..., 2)
        x and y, px.
    boxes : Tensor of shape (..., 5)
        See `transferkit.images.oriented`.

    Examples
    --------
    >>> box = torch.tensor([5.0, 6.0, 8.0, 2.0, 90.0])
    >>> local_points(torch.tensor([5.0, 2.0]), box).round(decimals=3).tolist()
    [1.0, 0.0]
    """
    away, turn = points - boxes[..., :2], boxes[..., 4].deg2rad()
    cos, sin = turn.cos(), turn.sin()
    along = away[..., 0] * cos - away[..., 1] * sin
    across = away[..., 0] * sin + away[..., 1] * cos
    return torch.stack((along, across), -1) * 2 / boxes[..., 2:4].clamp(min=1e-6)
