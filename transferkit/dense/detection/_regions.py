"""Regions of interest: what the levels show inside some boxes, at one size for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

__all__ = ["RegionAlign", "boxes_of_images"]

# A box is seen on the level on which its side is 14 to 28 cells long: Lin et al. (2017) look at
# one of 224 px on stride 16.
_CELLS_OF_BOX = 14.0


def boxes_of_images(boxes: Tensor) -> Tensor:
    """Put the number of its image before each box.

    Parameters
    ----------
    boxes : Tensor of shape (B, n, 4)
        As many for each image, px.

    Returns
    -------
    Tensor of shape (B * n, 5)
        Number of the image, left, top, right and bottom edge.

    Examples
    --------
    >>> boxes_of_images(torch.ones(2, 1, 4)).tolist()
    [[0.0, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0, 1.0]]
    """
    numbers = torch.arange(boxes.shape[0], device=boxes.device, dtype=boxes.dtype)
    return torch.cat((numbers[:, None, None].expand(-1, boxes.shape[1], 1), boxes), 2).flatten(0, 1)


class RegionAlign(nn.Module):
    """Features of boxes, each read from the level that suits its size, by bilinear sampling.

    It has no weights. A head of masks makes one of its own, with more cells.

    Parameters
    ----------
    strides : sequence of float
        Of the levels, fine to coarse, px.
    cells : int
        Height and width of the features, cells.
    samples : int, default=2
        Points along each axis of a cell, of which the mean is taken.

    References
    ----------
    He, Gkioxari, Dollár, Girshick (2017), "Mask R-CNN", section 3 (RoIAlign). Lin et al. (2017),
    "Feature pyramid networks", equation 1.
    """

    def __init__(self, strides: Sequence[float], cells: int, samples: int = 2) -> None:
        super().__init__()
        self.strides, self.cells, self.samples = tuple(strides), cells, samples

    def levels_of(self, boxes: Tensor) -> Tensor:
        """Number of the level that each box is seen on, int64.

        It is the coarsest of which a stride is at most a 14th of the box' side.

        Parameters
        ----------
        boxes : Tensor of shape (..., 4)
            px.
        """
        sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1).sqrt()
        coarser = torch.tensor(self.strides[1:], dtype=sides.dtype, device=sides.device)
        # A hair less, so that rounding doesn't move a box of just this side.
        return (sides[..., None] >= coarser * (_CELLS_OF_BOX - 1e-3)).sum(-1)

    def forward(self, levels: Sequence[Tensor], boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """Features ``(n, D, cells, cells)``.

        Parameters
        ----------
        levels : sequence of Tensor
            Maps ``(B, D, H, W)``, fine to coarse.
        boxes : Tensor of shape (n, 5)
            Number of the image, and px of the network's input; from `boxes_of_images`.
        size : (int, int)
            Height and width of the input, px.
        """
        at = self.levels_of(boxes[:, 1:])
        if torch.compiler.is_compiling():
            # How many boxes a level has is known only when it runs; so all are read from all.
            read = [self._read(number, level, boxes, size) for number, level in enumerate(levels)]
            result = read[0]
            for number in range(1, len(read)):
                result = torch.where((at == number)[:, None, None, None], read[number], result)
            return result
        own = [(at == number).nonzero()[:, 0] for number in range(len(levels))]
        read = [
            self._read(number, level, boxes[own[number]], size)
            for number, level in enumerate(levels)
        ]
        return torch.cat(read)[torch.cat(own).argsort()]

    def _read(self, number: int, level: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """Features of boxes on one level."""
        stride = self.strides[number]
        # `roi_align` has the centre of cell 0 half a stride from the edge; see `DetectionHead`
        # for where it is.
        x, y = (
            (stride - n + (m - 1) * stride) / 2
            for n, m in zip(size[::-1], level.shape[:-3:-1], strict=True)
        )
        moved = boxes + boxes.new_tensor([0.0, x, y, x, y])
        found: Tensor = roi_align(
            level.float(), moved, self.cells, 1 / stride, self.samples, aligned=True
        )
        return found
