"""torchgeo-bench's linear segmentation probe: a linear layer on each level, and their sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transferkit.dense.samples import DenseSamples
from transferkit.protocols.segmentation import SegmentationProbe
from transferkit.protocols.segmentation._head import ProbeHead
from transferkit.protocols.segmentation._torchgeo import TorchGeoSegmentation, fit_torchgeo

__all__ = ["Protocol", "ScaledLinear", "TorchGeoSegLinear", "fit"]


@dataclass(frozen=True)
class TorchGeoSegLinear(TorchGeoSegmentation):
    """Settings of `TorchGeoSegmentation`; its ``head_type`` is ``linear``."""


Protocol = TorchGeoSegLinear


class ScaledLinear(ProbeHead):
    """Batch norm and a linear layer on each level; of several, a sum with learnt weights.

    Parameters
    ----------
    widths : sequence of int
        Of the levels, fine to coarse.
    n_classes : int
        Number of classes.
    """

    def __init__(self, widths: Sequence[int], n_classes: int) -> None:
        super().__init__()
        self.classifiers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(width), nn.Conv2d(width, n_classes, 1)) for width in widths
        )
        self.weights = nn.Parameter(torch.ones(len(widths)), requires_grad=len(widths) > 1)

    def parts(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """See `ProbeHead.parts`. A weight and resizing may change places."""
        return [
            layer(level) * weight
            for layer, level, weight in zip(self.classifiers, levels, self.weights, strict=True)
        ]


def fit(
    protocol: TorchGeoSegLinear, samples: DenseSamples, n_classes: int, seed: int, device: str
) -> SegmentationProbe:
    """Train for the published epochs, and keep the last."""
    return fit_torchgeo(
        protocol, lambda widths: ScaledLinear(widths, n_classes), samples, seed, device
    )
