"""torchgeo-bench's pyramid segmentation probe: a feature pyramid, its levels side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transferkit.dense.samples import DenseSamples
from transferkit.protocols.segmentation import SegmentationProbe
from transferkit.protocols.segmentation._head import ProbeHead, resized
from transferkit.protocols.segmentation._torchgeo import TorchGeoSegmentation, fit_torchgeo

__all__ = ["NormedPyramid", "Protocol", "TorchGeoSegFPN", "fit"]


@dataclass(frozen=True)
class TorchGeoSegFPN(TorchGeoSegmentation):
    """Settings of `TorchGeoSegmentation`; its ``head_type`` is ``fpn``, which is its default."""

    width: int = 256


Protocol = TorchGeoSegFPN


class NormedPyramid(ProbeHead):
    """A feature pyramid on batch-normed levels, resized to the finest and classified together.

    Parameters
    ----------
    widths : sequence of int
        Of the levels, fine to coarse.
    n_classes : int
        Number of classes.
    width : int
        Of the pyramid.

    References
    ----------
    Lin et al. (2017), "Feature pyramid networks for object detection", section 3; here with
    bilinear steps from level to level.
    """

    def __init__(self, widths: Sequence[int], n_classes: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(own) for own in widths)
        self.laterals = nn.ModuleList(nn.Conv2d(own, width, 1, bias=False) for own in widths)
        self.smoothers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
            )
            for _ in widths
        )
        self.classifier = nn.Conv2d(width * len(widths), n_classes, 1)

    def parts(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """See `ProbeHead.parts`."""
        merged = [
            lateral(norm(level))
            for lateral, norm, level in zip(self.laterals, self.norms, levels, strict=True)
        ]
        for i in reversed(range(len(merged) - 1)):
            merged[i] = merged[i] + resized(merged[i + 1], tuple(merged[i].shape[2:]))
        size = (int(merged[0].shape[2]), int(merged[0].shape[3]))
        smooth = [
            resized(smoother(level), size)
            for smoother, level in zip(self.smoothers, merged, strict=True)
        ]
        # The weights of the coarsest level stand first, as they do in the published head.
        return [self.classifier(torch.cat(smooth[::-1], dim=1))]


def fit(
    protocol: TorchGeoSegFPN, samples: DenseSamples, n_classes: int, seed: int, device: str
) -> SegmentationProbe:
    """Train for the published epochs, and keep the last."""
    return fit_torchgeo(
        protocol,
        lambda widths: NormedPyramid(widths, n_classes, protocol.width),
        samples,
        seed,
        device,
    )
