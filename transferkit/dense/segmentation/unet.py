"""U-Net's decoder: from coarse to fine, each step joined by the level of its size.

References
----------
Ronneberger et al. (2015), "U-Net: Convolutional networks for biomedical image segmentation",
figure 1. Here the backbone is its left side, and all steps have one width.
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
    """Upsampling, the finer level put beside it, and two convolutions, level by level.

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
    >>> head = UNetSegmentationHead([8, 16], [4, 8], n_classes=3, width=4)
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
        coarsest, *finer = reversed(channels)
        widths = [coarsest, *(width + n_skipped for n_skipped in finer)]
        self.steps = nn.ModuleList(
            nn.Sequential(conv_norm(n_inputs, width), conv_norm(width, width))
            for n_inputs in widths
        )
        self.classifier = classifier(width, n_classes, dropout)

    def forward(self, maps: FeatureMaps) -> Tensor:
        """Scores at the finest level's size; see `SegmentationHead.forward`."""
        coarsest, *finer = reversed(list(maps.maps.values()))
        value = self.steps[0](coarsest)
        for step, level in zip(self.steps[1:], finer, strict=True):
            value = step(torch.cat([level, resized(value, level.shape[-2:])], 1))
        scores: Tensor = self.classifier(value)
        return scores


Head = UNetSegmentationHead
