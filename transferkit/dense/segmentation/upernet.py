"""UPerNet: the coarsest level pooled over regions of several sizes, then a pyramid, then all.

References
----------
Xiao et al. (2018), "Unified perceptual parsing for scene understanding", figure 4.
Zhao et al. (2017), "Pyramid scene parsing network", section 3.2 (the pooling).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from transferkit.dense.segmentation._head import SegmentationHead
from transferkit.dense.segmentation._layers import classifier, conv_norm, resized
from transferkit.maps import FeatureMaps

__all__ = ["NECK", "Head", "PyramidPooling", "UPerNetSegmentationHead"]

NECK = "none"


class PyramidPooling(nn.Module):
    """A map beside its averages over the cells of some grids, mixed by a convolution.

    Parameters
    ----------
    n_inputs : int
        Width of the map that it is given.
    width : int
        Width of the map that it returns.
    grids : sequence of int, default=(1, 2, 3, 6)
        Cells of each grid along either side. The map may be smaller than a grid: its px are
        then averaged over more than once.
    """

    def __init__(self, n_inputs: int, width: int, grids: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.grids = tuple(grids)
        part = max(width // len(self.grids), 2)
        self.pooled = nn.ModuleList(conv_norm(n_inputs, part, 1) for _ in self.grids)
        self.mix = conv_norm(n_inputs + part * len(self.grids), width)

    def forward(self, level: Tensor) -> Tensor:
        """Return the map ``(B, width, H, W)`` of ``(B, n_inputs, H, W)``."""
        parts = [
            resized(layer(adaptive_avg_pool2d(level, grid)), level.shape[-2:])
            for layer, grid in zip(self.pooled, self.grids, strict=True)
        ]
        mixed: Tensor = self.mix(torch.cat([level, *parts], 1))
        return mixed


class UPerNetSegmentationHead(SegmentationHead):
    """Pyramid pooling, a way from coarse to fine, and a convolution of all its levels.

    It brings its own pyramid, so that it has no neck unless one is named.

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
    >>> head = UPerNetSegmentationHead([8, 16], [4, 8], n_classes=3, width=8)
    >>> maps = {"a": torch.zeros(1, 8, 9, 7), "b": torch.zeros(1, 16, 5, 4)}
    >>> head(FeatureMaps(maps, {"a": 4, "b": 8})).shape
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
        *finer, coarsest = channels
        self.pooling = PyramidPooling(coarsest, width)
        self.laterals = nn.ModuleList(conv_norm(n_inputs, width, 1) for n_inputs in finer)
        self.smooth = nn.ModuleList(conv_norm(width, width) for _ in finer)
        self.mix = conv_norm(width * len(channels), width)
        self.classifier = classifier(width, n_classes, dropout)

    def forward(self, maps: FeatureMaps) -> Tensor:
        """Scores at the finest level's size; see `SegmentationHead.forward`."""
        *finer, coarsest = list(maps.maps.values())
        value = self.pooling(coarsest)
        levels = [value]
        for i in reversed(range(len(finer))):
            lateral = self.laterals[i](finer[i])
            value = lateral + resized(value, lateral.shape[-2:])
            levels.append(self.smooth[i](value))
        size = value.shape[-2:]
        scores: Tensor = self.classifier(self.mix(torch.cat([resized(x, size) for x in levels], 1)))
        return scores


Head = UPerNetSegmentationHead
