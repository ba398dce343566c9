"""Points and anchors of a level's cells, and sizes of anchors that suit a set of boxes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "anchors_of_level",
    "level_shapes",
    "points_of_level",
    "shapes_of_anchors",
    "suited_ratios",
    "suited_reach",
    "suited_sizes",
    "usual_sizes",
]

# Side of the middle anchor of a level, in its strides: Lin et al. (2017) have 32 px on stride 8.
_STRIDES_PER_ANCHOR = 4.0
# The boxes between these two quantiles of size are what the anchors span.
_QUANTILES = (0.01, 0.99)
# Anchors that follow one another in size differ by this factor at least: nearer ones would share
# their boxes by chance.
_LEAST_STEP = 2 ** (1 / 3)


def points_of_level(
    cells: tuple[int, int], stride: float, size: tuple[int, int], device: torch.device | None = None
) -> Tensor:
    """Centres of a level's cells, row by row.

    They lie a stride apart, whatever n / m is, and as far from one edge of the input as from the
    other; see `DetectionHead`.

    Parameters
    ----------
    cells : (int, int)
        Height and width of the level, cells.
    stride : float
        Distance of two cells, px of the input.
    size : (int, int)
        Height and width of the input, px.
    device : torch.device, optional
        Of the result.

    Returns
    -------
    Tensor of shape (height * width, 2)
        x and y, px, float32.

    Examples
    --------
    >>> points_of_level((1, 3), 3.5, (4, 12)).tolist()
    [[2.5, 2.0], [6.0, 2.0], [9.5, 2.0]]
    """
    y, x = (
        torch.arange(m, dtype=torch.float32, device=device) * stride + (n - (m - 1) * stride) / 2
        for m, n in zip(cells, size, strict=True)
    )
    rows, columns = len(y), len(x)
    return torch.stack((x.repeat(rows), y.repeat_interleave(columns)), 1)


def shapes_of_anchors(sizes: Sequence[float], ratios: Sequence[float]) -> list[tuple[float, float]]:
    """Widths and heights of the anchors of a cell: each size in each ratio, of the same area.

    Parameters
    ----------
    sizes : sequence of float
        Square roots of the areas, px.
    ratios : sequence of float
        Height over width of each.

    Examples
    --------
    >>> shapes_of_anchors([8], [1, 4])
    [(8.0, 8.0), (4.0, 16.0)]
    """
    return [
        (size / ratio**0.5, size * ratio**0.5) for size, ratio in itertools.product(sizes, ratios)
    ]


def anchors_of_level(
    cells: tuple[int, int],
    stride: float,
    size: tuple[int, int],
    shapes: Sequence[tuple[float, float]],
    device: torch.device | None = None,
) -> Tensor:
    """Anchors of a level: row by row, and for each cell all shapes.

    Parameters
    ----------
    cells, stride, size, device
        As for `points_of_level`.
    shapes : sequence of (float, float)
        Widths and heights, from `shapes_of_anchors`.

    Returns
    -------
    Tensor of shape (height * width * number of shapes, 4)
        Left, top, right and bottom edge, px, float32. They may leave the input.

    Examples
    --------
    >>> anchors_of_level((1, 2), 4, (4, 8), [(2.0, 6.0)]).tolist()
    [[1.0, -1.0, 3.0, 5.0], [5.0, -1.0, 7.0, 5.0]]
    """
    points = points_of_level(cells, stride, size, device)
    half = torch.tensor(shapes, dtype=torch.float32, device=device) / 2
    corners = torch.cat((-half, half), 1)
    return (points.repeat(1, 2)[:, None] + corners).reshape(-1, 4)


def usual_sizes(strides: Sequence[float], per_level: int) -> list[list[float]]:
    """Sizes of anchors of each level that suit objects of any size.

    The smallest is four strides large; the others divide the octave up to the next level, as in
    Lin et al. (2017), section 4.

    Examples
    --------
    >>> usual_sizes([8, 16], 2)
    [[32.0, 45.25...], [64.0, 90.50...]]
    """
    return [
        [_STRIDES_PER_ANCHOR * stride * 2 ** (i / per_level) for i in range(per_level)]
        for stride in strides
    ]


def suited_sizes(
    boxes: NDArray[Any], strides: Sequence[float], per_level: int
) -> list[list[float]]:
    """Sizes of anchors of each level that suit these boxes.

    They divide the sizes that occur, but for the smallest and the largest, into equal steps of
    their logarithm, from the finest level to the coarsest. So every level has objects to learn,
    and a set of large objects alone leaves none idle.

    Parameters
    ----------
    boxes : ndarray of shape (n, 4)
        Left, top, right and bottom edges, px of the input. Those without area don't count.
    strides : sequence of float
        Of the levels, fine to coarse.
    per_level : int
        Sizes of a level.

    Returns
    -------
    list of list of float
        px, as JSON takes them; `usual_sizes` if there are no boxes.

    Examples
    --------
    >>> import numpy as np
    >>> boxes = np.array([[0, 0, s, s] for s in range(16, 65)])
    >>> suited_sizes(boxes, [8, 16], 2)
    [[19.5, 27.3], [38.3, 53.7]]
    """
    sides = _sides(boxes)
    if not len(sides):
        return usual_sizes(strides, per_level)
    low, high = np.quantile(np.log(sides).mean(1), _QUANTILES)
    n = len(strides) * per_level
    # Each anchor stands in the middle of its share of the span.
    step = max((high - low) / n, np.log(_LEAST_STEP))
    logs = (low + high) / 2 + step * (np.arange(n) - (n - 1) / 2)
    sizes = [round(float(size), 1) for size in np.exp(logs)]
    return [sizes[i * per_level : (i + 1) * per_level] for i in range(len(strides))]


def suited_ratios(boxes: NDArray[Any], n: int) -> list[float]:
    """Heights over widths of anchors that suit these boxes: the middles of n equal shares.

    Parameters
    ----------
    boxes : ndarray of shape (n, 4)
        Left, top, right and bottom edges, px of the input. Those without area don't count.
    n : int
        Number of ratios.

    Returns
    -------
    list of float
        Ascending, as JSON takes them; around 1 in steps of two if there are no boxes.

    Examples
    --------
    >>> import numpy as np
    >>> suited_ratios(np.array([[0, 0, 10, h] for h in range(5, 45)]), 2)
    [1.47, 3.42]
    >>> suited_ratios(np.zeros((0, 4)), 3)
    [0.5, 1.0, 2.0]
    """
    sides = _sides(boxes)
    if not len(sides):
        return [2.0 ** (i - (n - 1) / 2) for i in range(n)]
    shares = (np.arange(n) + 0.5) / n
    ratios = np.exp(np.quantile(np.log(sides[:, 1] / sides[:, 0]), shares))
    return [round(float(ratio), 2) for ratio in ratios]


def suited_reach(boxes: NDArray[Any], strides: Sequence[float]) -> list[float]:
    """Distance from an object's centre to its edges that each level has to expect, px.

    Objects are divided among the levels by size, as many to each.

    Parameters
    ----------
    boxes : ndarray of shape (n, 4)
        Left, top, right and bottom edges, px of the input. Those without area don't count.
    strides : sequence of float
        Of the levels, fine to coarse.

    Returns
    -------
    list of float
        As JSON takes them; 4 strides if there are no boxes.

    Examples
    --------
    >>> import numpy as np
    >>> suited_reach(np.array([[0, 0, 8, 8], [0, 0, 32, 32]]), [8, 16])
    [4.0, 16.0]
    """
    sides = _sides(boxes)
    if not len(sides):
        return [4.0 * stride for stride in strides]
    logs = np.sort(np.log(sides / 2).mean(1))
    # The middle of each level's share, whatever their number.
    at = (np.arange(len(strides)) + 0.5) / len(strides)
    return [round(float(px), 1) for px in np.exp(np.quantile(logs, at, method="hazen"))]


def _sides(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """Widths and heights of the boxes that have an area, px."""
    given = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    sides = given[:, 2:] - given[:, :2]
    kept: NDArray[np.float64] = sides[(sides > 0).all(1)]
    return kept


def level_shapes(
    sizes: Sequence[Sequence[float]],
    ratios: Sequence[float],
    strides: Sequence[float],
    n_extra: int = 0,
) -> list[list[tuple[float, float]]]:
    """Widths and heights of each level's anchors, those of extra levels too.

    Parameters
    ----------
    sizes : sequence of sequence of float
        Square roots of areas, px: a list for each level that a head is given.
    ratios : sequence of float
        Height over width.
    strides : sequence of float
        Of the levels that the head is given.
    n_extra : int, default=0
        Levels that it adds; each has sizes twice those of the one before it.

    Raises
    ------
    ValueError
        If there isn't a list of sizes for each level, all equally long, or a number isn't above 0.

    Examples
    --------
    >>> level_shapes([[8]], [1], [4], n_extra=1)
    [[(8.0, 8.0)], [(16.0, 16.0)]]
    """
    given = [list(each) for each in sizes]
    if len(given) != len(strides) or len({len(each) for each in given}) != 1 or not given[0]:
        raise ValueError(
            f"sizes of anchors are {given}; give a list of one or more px for each of the "
            f"{len(strides)} levels, all equally long"
        )
    if not len(ratios) or not all(value > 0 for value in itertools.chain(ratios, *given)):
        raise ValueError(
            f"anchors have sizes {given} and ratios {list(ratios)}; give numbers above 0"
        )
    given += [[size * 2 ** (i + 1) for size in given[-1]] for i in range(n_extra)]
    return [shapes_of_anchors(each, ratios) for each in given]
