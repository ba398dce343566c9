"""The head of semantic FPN: every level is brought to the finest one step by step, then summed.

References
----------
Kirillov et al. (2019), "Panoptic feature pyramid networks", figure 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from transferkit.dense.segmentation._head import SegmentationHead
from transferkit.dense.segmentation._layers import classifier, conv_norm, resized
from transferkit.maps import FeatureMaps

__all__ = ["NECK", "FPNSegmentationHead", "Head"]

NECK = "fpn"


class FPNSegmentationHead(SegmentationHead):
    """Convolution and upsampling by two, as often as a level needs; the levels are summed.

    Parameters
    ----------
    channels, strides, n_classes
        As for `SegmentationHead`.
    width : int, default=64
        Width of all layers.
    dropout : float, default=0
        Share of the channels that the last layer goes without while training.

    Examples
    --------
    >>> import torch
    >>> head = FPNSegmentationHead([8, 16], [4, 16], n_classes=3, width=4)
    >>> maps = {"a": torch.zeros(1, 8, 9, 7), "b": torch.zeros(1, 16, 3, 2)}
    >>> head(FeatureMaps(maps, {"a": 4, "b": 16})).shape
    torch.Size([1, 3, 9, 7])
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        n_classes: int,
        *,
        width: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(channels, strides, n_classes)
        self.branches = nn.ModuleList(
            _branch(n_inputs, width, _n_doublings(strides[0], stride))
            for n_inputs, stride in zip(channels, strides, strict=True)
        )
        self.classifier = classifier(width, n_classes, dropout)

    def forward(self, maps: FeatureMaps) -> Tensor:
        """Scores at the finest level's size; see `SegmentationHead.forward`."""
        levels = list(maps.maps.values())
        height, width = levels[0].shape[-2:]
        brought = []
        for branch, level in zip(self.branches, levels, strict=True):
            for step, layer in enumerate(branch):
                # Sizes are counted down from the finest level's, which may be odd, so that
                # the maps to be summed have the same.
                factor = 2 ** (len(branch) - 1 - step)
                level = resized(layer(level), (-(-height // factor), -(-width // factor)))
            brought.append(level)
        scores: Tensor = self.classifier(sum(brought[1:], brought[0]))
        return scores


def _branch(n_inputs: int, width: int, n_doublings: int) -> nn.ModuleList:
    """One convolution for each doubling of the size, and one where there is none."""
    widths = [n_inputs] + [width] * max(n_doublings, 1)
    return nn.ModuleList(conv_norm(a, b) for a, b in pairwise(widths))


def _n_doublings(fine: int, coarse: int) -> int:
    """How often the coarse level's size is doubled to reach the fine one's."""
    return max(round(math.log2(coarse / fine)), 0)


Head = FPNSegmentationHead
