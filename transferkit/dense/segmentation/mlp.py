"""The head of SegFormer: a linear layer on each level, all put side by side and mixed.

References
----------
Xie et al. (2021), "SegFormer: Simple and efficient design for semantic segmentation with
transformers", equation 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from transferkit.dense.segmentation._head import SegmentationHead
from transferkit.dense.segmentation._layers import classifier, conv_norm, resized
from transferkit.maps import FeatureMaps

__all__ = ["NECK", "Head", "MLPSegmentationHead"]

NECK = "none"


class MLPSegmentationHead(SegmentationHead):
    """Linear layers at every px alone; only resizing mixes neighbours.

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
        self.layers = nn.ModuleList(nn.Conv2d(n_inputs, width, 1) for n_inputs in channels)
        self.mixer = conv_norm(width * len(channels), width, size=1)
        self.classifier = classifier(width, n_classes, dropout)

    def forward(self, maps: FeatureMaps) -> Tensor:
        """Scores at the finest level's size; see `SegmentationHead.forward`."""
        levels = list(maps.maps.values())
        size = levels[0].shape[-2:]
        parts = [
            resized(layer(level), size) for layer, level in zip(self.layers, levels, strict=True)
        ]
        scores = self.classifier(self.mixer(torch.cat(parts, dim=1)))
        assert isinstance(scores, Tensor)
        return scores


Head = MLPSegmentationHead
