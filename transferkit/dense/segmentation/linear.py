"""The linear probe of dense tasks: one linear layer at every pixel.

References
----------
Oquab et al. (2023), "DINOv2: Learning robust visual features without supervision", section 7.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from transferkit.dense.segmentation._head import SegmentationHead
from transferkit.maps import FeatureMaps

__all__ = ["NECK", "Head", "LinearSegmentationHead"]

NECK = "none"


class LinearSegmentationHead(SegmentationHead):
    """A linear layer on all levels, resized to the finest and put side by side.

    Parameters
    ----------
    channels, strides, n_classes
        As for `SegmentationHead`.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[float], n_classes: int) -> None:
        super().__init__(channels, strides, n_classes)
        self.classifiers = nn.ModuleList(
            nn.Conv2d(width, n_classes, 1, bias=i == 0) for i, width in enumerate(channels)
        )

    def forward(self, maps: FeatureMaps) -> Tensor:
        """Scores at the finest level's size; see `SegmentationHead.forward`."""
        levels = self.levels(maps)
        # A linear layer and resizing may change places, and fewer channels are resized so.
        parts = [
            interpolate(layer(level), levels[0].shape[-2:], mode="bilinear", align_corners=False)
            for layer, level in zip(self.classifiers, levels, strict=True)
        ]
        return torch.stack(parts).sum(0)


Head = LinearSegmentationHead
