"""`ProbeHead`, the base class of the protocols' heads, whose scores are a sum of resized maps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

__all__ = ["ProbeHead", "resized"]


class ProbeHead(nn.Module):
    """A module from the levels of a pyramid to scores of classes.

    Attributes
    ----------
    input_size : (int, int)
        Height and width of the network's input, px. Where there are several parts, scores are
        summed at these pixels.
    """

    input_size: tuple[int, int]

    @abstractmethod
    def parts(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Maps ``(B, n_classes, h, w)`` whose sum, each resized to the input, is the scores.

        Parameters
        ----------
        levels : sequence of Tensor
            A map ``(B, D, H, W)`` for each level, fine to coarse.
        """

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Scores ``(B, n_classes, h, w)``: those of a single part in its own size.

        Parameters
        ----------
        levels : sequence of Tensor
            A map ``(B, D, H, W)`` for each level, of any numeric type.
        """
        parts = self.parts([level.float() for level in levels])
        if len(parts) == 1:
            return parts[0]
        return torch.stack([resized(part, self.input_size) for part in parts]).sum(0)


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps to a height and width, px, bilinearly and from edge to edge."""
    return interpolate(maps, size, mode="bilinear", align_corners=False)
