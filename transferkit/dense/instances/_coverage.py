"""Coverage: how much of each cell of a small grid over an object's box the object covers.

Of an object of any size as much is held, and it is read at whatever points are wanted: at those of
a region by a head, at the pixels of an image to paint its mask. So the memory doesn't grow with
the images, however many objects they have.

The grid spans from its left to its right edge and from its top to its bottom edge. In a mirrored
view an object's left edge is on the right, and so a span may run backwards.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from transferkit.annotations import Masks
from transferkit.annotations._regions import Region, region_of_mask

__all__ = ["CELLS", "covered_cells", "painted", "read_at"]

CELLS = 56
"""Height and width of the grid that true masks are held on, cells: twice that of a head's."""

_MOST = 255


def covered_cells(masks: Masks) -> Tensor:
    """Coverage of true masks, each over its own rectangle.

    Parameters
    ----------
    masks : Masks
        Of one image.

    Returns
    -------
    Tensor of shape (m, CELLS, CELLS)
        uint8, from 0 to 255.

    Examples
    --------
    >>> masks = Masks.of_array(np.eye(2, dtype=bool)[None])
    >>> covered_cells(masks)[0, [0, 0, -1], [0, -1, -1]].tolist()
    [255, 0, 255]
    """
    found = np.zeros((len(masks), CELLS, CELLS), dtype=np.uint8)
    for cells, region in zip(found, masks.regions, strict=True):
        if region.pixels.size:
            rows, columns = (_shares(n) for n in region.pixels.shape)
            share = rows @ region.pixels.astype(np.float32) @ columns.T
            cells[:] = np.round(_MOST * share)
    return torch.from_numpy(found)


def _shares(n: int) -> NDArray[np.float32]:
    """Share of each of n pixels in each of the cells that divide them equally, (CELLS, n)."""
    edges = np.arange(CELLS + 1) * n / CELLS
    pixels = np.arange(n)
    low = np.maximum(edges[:-1, None], pixels)
    high = np.minimum(edges[1:, None], pixels + 1)
    shares: NDArray[np.float32] = (np.clip(high - low, 0, None) * CELLS / n).astype(np.float32)
    return shares


def read_at(cells: Tensor, spans: Tensor, boxes: Tensor, n: int) -> Tensor:
    """Coverage at the middles of n × n equal parts of some boxes, 0 outside of the span.

    Parameters
    ----------
    cells : Tensor of shape (m, h, w)
        uint8 of one object for each box.
    spans : Tensor of shape (m, 4)
        Where the left, top, right and bottom edge of `cells` are, px.
    boxes : Tensor of shape (m, 4)
        px.
    n : int
        Parts along each axis.

    Returns
    -------
    Tensor of shape (m, n, n)
        float32, from 0 to 1.

    Examples
    --------
    >>> cells = torch.tensor([[[0, 255], [0, 255]]], dtype=torch.uint8)
    >>> spans = torch.tensor([[8.0, 0, 0, 8]])  # mirrored
    >>> read_at(cells, spans, torch.tensor([[0.0, 0, 8, 8]]), 2)[0].tolist()
    [[1.0, 0.0], [1.0, 0.0]]
    """
    at = (torch.arange(n, device=boxes.device) + 0.5) / n
    points = boxes[:, None, :2] + at[:, None] * (boxes[:, None, 2:] - boxes[:, None, :2])
    start, length = spans[:, None, :2], spans[:, None, 2:] - spans[:, None, :2]
    x, y = (2 * (points - start) / length - 1).unbind(2)
    grid = torch.stack((x[:, None].expand(-1, n, -1), y[:, :, None].expand(-1, -1, n)), 3)
    values = cells[:, None].to(boxes.dtype) / _MOST
    # The last half cell fades into what is outside; on so fine a grid that is next to nothing.
    return grid_sample(values, grid, align_corners=False)[:, 0]


def painted(
    values: NDArray[np.floating], span: NDArray[np.floating], size: tuple[int, int]
) -> Region:
    """Pixels of an image whose centres are covered by half or more; no array is as large as it.

    Parameters
    ----------
    values : ndarray of shape (h, w)
        Coverage or probability, from 0 to 1.
    span : ndarray of shape (4,)
        Where its left, top, right and bottom edge are, px of the image.
    size : (int, int)
        Height and width of the image, px.

    References
    ----------
    He, Gkioxari, Dollár, Girshick (2017), "Mask R-CNN", section 3.1: resized to the box, and
    0.5 or more.

    Examples
    --------
    >>> region = painted(np.eye(2), np.array([1.0, 0.0, 5.0, 4.0]), (9, 9))
    >>> region.box, region.pixels.astype(int).tolist()
    ((1, 0, 5, 4), [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    """
    columns, left = _weights(span[0], span[2], values.shape[1], size[1])
    rows, top = _weights(span[1], span[3], values.shape[0], size[0])
    region = region_of_mask(rows @ values @ columns.T >= 0.5 - 1e-6)
    return Region(region.top + top, region.left + left, region.pixels)


def _weights(
    start: float, stop: float, n_cells: int, length: int
) -> tuple[NDArray[np.float64], int]:
    """How much each cell says about the pixels of the span, and the number of the first one.

    Between the middles of two cells it is interpolated, and beyond the first and the last one it
    stays the same.
    """
    low, high = sorted((float(start), float(stop)))
    # Pixels whose centres are within the span and the image.
    first = int(np.ceil(np.clip(low, 0, length) - 0.5))
    last = int(np.ceil(np.clip(high, 0, length) - 0.5))
    centres = np.arange(first, last) + 0.5
    at = ((centres - start) / (stop - start) * n_cells - 0.5).clip(0, n_cells - 1)
    return np.clip(1 - np.abs(at[:, None] - np.arange(n_cells)), 0, None), first
