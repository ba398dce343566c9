"""The head of SegFormer: a linear layer on each level, all put side by side and mixed.

References
----------
Xie et al. (2021), "SegFormer: Simple and efficient design for semantic segmentation with
transformers", equation 4.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from transferkit.dense.segmentation._head import SegmentationHead
from transferkit.dense.segmentation._layers import classifier, resized
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
        self.classifier = classifier(width, n_classes, dropout)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(n_inputs, width, 1), nn.Conv2d(width, width, 1, bias=False))
            for n_inputs in channels
        )
        self.norm = nn.Sequential(nn.GroupNorm(1, width), nn.ReLU())

    def forward(self, maps: FeatureMaps) -> Tensor:
        """Scores at the finest level's size; see `SegmentationHead.forward`."""
        levels = self.levels(maps)
        size = levels[0].shape[-2:]
        # The paper resizes the levels, puts them side by side and mixes them by a linear layer.
        # That is the sum of a linear layer of each level, and resizing may come after it: most
        # of the work is then done at the size of the coarse levels.
        parts = [
            resized(layer(level), size) for layer, level in zip(self.layers, levels, strict=True)
        ]
        scores = self.classifier(self.norm(sum(parts[1:], parts[0])))
        assert isinstance(scores, Tensor)
        return scores


Head = MLPSegmentationHead
