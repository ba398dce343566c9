"""The decoder of U-Net: from coarse to fine, each level joins what comes from below it.

References
----------
Ronneberger, Fischer, Brox (2015), "U-Net: Convolutional networks for biomedical image
segmentation", figure 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from transferkit.dense.segmentation._head import SegmentationHead
from transferkit.dense.segmentation._layers import classifier, conv_norm, resized
from transferkit.maps import FeatureMaps

__all__ = ["NECK", "Head", "UNetSegmentationHead"]

NECK = "none"


class UNetSegmentationHead(SegmentationHead):
    """Resize, put the finer level beside, and convolve twice; level by level.

    Parameters
    ----------
    channels, strides, n_classes
        As for `SegmentationHead`.
    width : int, default=64
        Width of all layers.
    dropout : float, default=0
        Share of the channels that the last layer goes without while training.
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
        below = [width] * (len(channels) - 1) + [0]
        self.blocks = nn.ModuleList(
            nn.Sequential(conv_norm(n_inputs + n_below, width), conv_norm(width, width))
            for n_inputs, n_below in zip(channels, below, strict=True)
        )

    def forward(self, maps: FeatureMaps) -> Tensor:
        """Scores at the finest level's size; see `SegmentationHead.forward`."""
        levels = self.levels(maps)
        state = self.blocks[-1](levels[-1])
        for level, block in zip(levels[-2::-1], list(self.blocks)[-2::-1], strict=True):
            state = block(torch.cat([level, resized(state, level.shape[-2:])], dim=1))
        scores = self.classifier(state)
        assert isinstance(scores, Tensor)
        return scores


Head = UNetSegmentationHead
