"""UPerNet: the coarsest level is pooled at several sizes, then a pyramid is built upon it.

References
----------
Xiao et al. (2018), "Unified perceptual parsing for scene understanding", section 3.1; the pooled
sizes are those of Zhao et al. (2017), "Pyramid scene parsing network".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from transferkit.dense.segmentation._head import SegmentationHead
from transferkit.dense.segmentation._layers import classifier, conv_norm, resized
from transferkit.maps import FeatureMaps

__all__ = ["NECK", "Head", "UPerNetSegmentationHead"]

NECK = "none"

POOLED = (1, 2, 3, 6)
"""Sizes that the coarsest level is pooled to, map px."""


class UPerNetSegmentationHead(SegmentationHead):
    """Pyramid pooling, a feature pyramid, and all of its levels side by side.

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
        self.pooled = nn.ModuleList(conv_norm(channels[-1], width, size=1) for _ in POOLED)
        self.bottleneck = conv_norm(channels[-1] + width * len(POOLED), width)
        self.laterals = nn.ModuleList(conv_norm(n, width, size=1) for n in channels[:-1])
        self.smooth = nn.ModuleList(conv_norm(width, width) for _ in channels[:-1])
        self.mixer = conv_norm(width * len(channels), width)

    def forward(self, maps: FeatureMaps) -> Tensor:
        """Scores at the finest level's size; see `SegmentationHead.forward`."""
        levels = self.levels(maps)
        above = self._pooled(levels[-1])
        fused = [above]
        for level, lateral, smooth in zip(
            levels[-2::-1],
            list(self.laterals)[::-1],
            list(self.smooth)[::-1],
            strict=True,
        ):
            above = lateral(level) + resized(above, level.shape[-2:])
            fused.append(smooth(above))
        size = levels[0].shape[-2:]
        scores = self.classifier(self.mixer(torch.cat([resized(f, size) for f in fused], dim=1)))
        assert isinstance(scores, Tensor)
        return scores

    def _pooled(self, level: Tensor) -> Tensor:
        """The coarsest level, beside means of its parts."""
        size = level.shape[-2:]
        parts = [
            # A part of a map of fewer px than parts is a px: more parts would say no more.
            resized(layer(adaptive_avg_pool2d(level, [min(n, side) for side in size])), size)
            for n, layer in zip(POOLED, self.pooled, strict=True)
        ]
        pooled = self.bottleneck(torch.cat([level, *parts], dim=1))
        assert isinstance(pooled, Tensor)
        return pooled


Head = UPerNetSegmentationHead
