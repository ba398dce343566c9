"""The head of semantic FPN: every level is brought to the finest one step by step, then summed.

References
----------
Kirillov et al. (2019), "Panoptic feature pyramid networks", figure 3.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
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
        strides: Sequence[float],
        n_classes: int,
        *,
        width: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(channels, strides, n_classes)
        self.classifier = classifier(width, n_classes, dropout)
        self.branches = nn.ModuleList(
            _branch(n_inputs, width, _doublings(strides[0], stride))
            for n_inputs, stride in zip(channels, strides, strict=True)
        )

    def forward(self, maps: FeatureMaps) -> Tensor:
        """Scores at the finest level's size; see `SegmentationHead.forward`."""
        levels = self.levels(maps)
        size = levels[0].shape[-2:]
        total = torch.zeros((), device=levels[0].device)
        for branch, level in zip(self.branches, levels, strict=True):
            state = level
            for step, layer in enumerate(branch, start=1):
                state = layer(state)
                # Sizes are counted from the finest level's, which may be odd: what is summed
                # has the same size in the end, whatever the network rounded on its way.
                doublings_left = len(branch) - step
                state = resized(state, [-(-side // 2**doublings_left) for side in size])
            total = total + state
        scores = self.classifier(total)
        assert isinstance(scores, Tensor)
        return scores


def _doublings(finest: float, stride: float) -> int:
    """How often a level is doubled to have the finest one's size."""
    return max(round(math.log2(stride / finest)), 0)


def _branch(n_inputs: int, width: int, n_doublings: int) -> nn.ModuleList:
    """One convolution before each doubling; one alone for a level that needs none."""
    widths = [n_inputs, *[width] * max(n_doublings, 1)]
    return nn.ModuleList(conv_norm(a, b) for a, b in itertools.pairwise(widths))


Head = FPNSegmentationHead
