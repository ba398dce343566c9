"""Backbone, pooling and head as one module, from pixels to predictions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from transferkit.backbones import build_backbone
from transferkit.export._saved import Saved
from transferkit.export.heads import TensorHead
from transferkit.pooling import pool

__all__ = ["DeployedNetwork"]


class DeployedNetwork(nn.Module):
    """A saved model as one module, in float32.

    Parameters
    ----------
    saved : Saved
        The model.
    head : TensorHead, optional
        Its head; None ends the module with the head's features.
    """

    def __init__(self, saved: Saved, head: TensorHead | None) -> None:
        super().__init__()
        self.features = saved.features
        self.is_rounded = saved.model.storage == "float16"
        self.layers = sorted({feature.source for feature in self.features})
        self.backbone = build_backbone(saved.model.backbone, layers=self.layers)
        self.head = head
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the predictions.

        Parameters
        ----------
        pixels : Tensor
            uint8, ``(B, H, W, 3)``.
        """
        images = self.backbone.normalize(pixels.permute(0, 3, 1, 2))
        maps = self.backbone(images, self.layers)
        rows = torch.cat([pool(maps, feature) for feature in self.features], dim=1)
        if self.is_rounded:  # as the rows that the head was trained on
            rows = rows.half().float()
        return rows if self.head is None else self.head(rows)
