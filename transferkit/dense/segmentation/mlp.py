"""SegFormer's head: linear layers only, one on each level and one on all of them.

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
    """Linear layers on each level, resized and mixed, then a ReLU and the classifier.

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
    >>> head = MLPSegmentationHead([8, 16], [4, 8], n_classes=3, width=4)
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
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(n_inputs, width, 1), nn.Conv2d(width, width, 1, bias=False))
            for n_inputs in channels
        )
        self.norm = nn.Sequential(nn.GroupNorm(1, width), nn.ReLU())
        self.classifier = classifier(width, n_classes, dropout)

    def forward(self, maps: FeatureMaps) -> Tensor:
        """Scores at the finest level's size; see `SegmentationHead.forward`."""
        levels = list(maps.maps.values())
        # The paper resizes the levels, puts them side by side and mixes them by a linear layer.
        # That is the sum of one linear layer a level, and resizing may come after it, which
        # spares the work at the finest size and the memory of all levels at it.
        mixed = [
            resized(branch(level), levels[0].shape[-2:])
            for branch, level in zip(self.branches, levels, strict=True)
        ]
        scores: Tensor = self.classifier(self.norm(sum(mixed[1:], mixed[0])))
        return scores


Head = MLPSegmentationHead
