"""torchgeo-bench's convolutional segmentation probe: projected levels side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transferkit.dense.samples import DenseSamples
from transferkit.protocols.segmentation import SegmentationProbe
from transferkit.protocols.segmentation._head import ProbeHead, resized
from transferkit.protocols.segmentation._torchgeo import TorchGeoSegmentation, fit_torchgeo

__all__ = ["ProjectedLevels", "Protocol", "TorchGeoSegConv", "fit"]


@dataclass(frozen=True)
class TorchGeoSegConv(TorchGeoSegmentation):
    """Settings of `TorchGeoSegmentation`; its ``head_type`` is ``conv_block``."""

    width: int = 256


Protocol = TorchGeoSegConv


class ProjectedLevels(ProbeHead):
    """Each level projected to one width, resized to the finest, and classified together.

    Parameters
    ----------
    widths : sequence of int
        Of the levels, fine to coarse.
    n_classes : int
        Number of classes.
    width : int
        That they are projected to.
    """

    def __init__(self, widths: Sequence[int], n_classes: int, width: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Conv2d(own, width, 1, bias=False), nn.BatchNorm2d(width), nn.SiLU())
            for own in widths
        )
        self.classifier = nn.Conv2d(width * len(widths), n_classes, 1)

    def parts(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """See `ProbeHead.parts`."""
        size = (int(levels[0].shape[2]), int(levels[0].shape[3]))
        projected = [
            resized(layer(level), size)
            for layer, level in zip(self.projections, levels, strict=True)
        ]
        return [self.classifier(torch.cat(projected, dim=1))]


def fit(
    protocol: TorchGeoSegConv, samples: DenseSamples, n_classes: int, seed: int, device: str
) -> SegmentationProbe:
    """Train for the published epochs, and keep the last."""
    return fit_torchgeo(
        protocol,
        lambda widths: ProjectedLevels(widths, n_classes, protocol.width),
        samples,
        seed,
        device,
    )
