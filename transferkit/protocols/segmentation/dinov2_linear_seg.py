"""The linear layer of DINOv2's segmentation, on the last map of the frozen network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from transferkit.dense.samples import DenseSamples
from transferkit.protocols import Geometry
from transferkit.protocols.segmentation import SegmentationProbe
from transferkit.protocols.segmentation._head import ProbeHead
from transferkit.protocols.segmentation._training import Step, epochs_of, levels_of, trained

__all__ = ["BatchNormLinear", "DinoV2LinearSeg", "Protocol", "fit"]


@dataclass(frozen=True)
class DinoV2LinearSeg:
    """Batch norm and a linear layer on the map after the last norm, AdamW, 40,000 steps of 16.

    The head is read from the published code, the settings of the training from a public copy of
    its configuration. The start (normal, 0.01) and the mean over void pixels too are those of
    mmsegmentation, which it was run with, from memory.

    What isn't as published: no random resizing and cropping and no change of colours, because
    the maps are cached (of mirror images too); the whole image is squashed to 512 px, where the
    published test slides windows of 512 px over the image resized to a shorter side of 512.

    References
    ----------
    Oquab et al. (2023), "DINOv2: Learning robust visual features without supervision", section
    7.4; facebookresearch/dinov2, ``eval/segmentation/models/decode_heads/linear_head.py``.
    """

    geometry: Geometry = Geometry(512, 1.0, "squash", "bilinear")
    feature: str = "final"
    shots: tuple[int, ...] = ()
    batch_size: int = 16
    steps: int = 40_000
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 1_500
    warmup_start: float = 1e-6
    power: float = 1.0
    spread: float = 0.01
    mirrored: bool = True
    counts_void: bool = True
    draws: bool = True
    deviates: tuple[str, ...] = ("colours", "crops", "windows")


Protocol = DinoV2LinearSeg


class BatchNormLinear(ProbeHead):
    """Batch norm, then a linear layer at every pixel of one map.

    Parameters
    ----------
    width : int
        Of the map.
    n_classes : int
        Number of classes.
    spread : float
        Standard deviation of the weights at the start.
    """

    def __init__(self, width: int, n_classes: int, spread: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.classifier = nn.Conv2d(width, n_classes, 1)
        nn.init.normal_(self.classifier.weight, std=spread)
        nn.init.constant_(cast("Tensor", self.classifier.bias), 0)

    def parts(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """See `ProbeHead.parts`; of several levels the last is taken."""
        return [self.classifier(self.norm(levels[-1]))]


def fit(
    protocol: DinoV2LinearSeg, samples: DenseSamples, n_classes: int, seed: int, device: str
) -> SegmentationProbe:
    """Train for the published number of steps, and keep the last."""
    widths, size = levels_of(samples)
    head, facts = trained(
        lambda: BatchNormLinear(widths[-1], n_classes, protocol.spread),
        samples,
        _steps(protocol, len(samples), seed),
        weight_decay=protocol.weight_decay,
        counts_void=protocol.counts_void,
        seed=seed,
        device=device,
    )
    head.input_size = size
    return SegmentationProbe(head, facts)


def _steps(protocol: DinoV2LinearSeg, n: int, seed: int) -> Iterator[Step]:
    """A linear warm-up that multiplies a fall to 0, as mmcv's poly schedule has it."""
    generator = torch.Generator().manual_seed(seed)
    batches = epochs_of(n, protocol.batch_size, generator, drop_last=True)
    for step, rows in zip(range(protocol.steps), batches, strict=False):
        rate = protocol.lr * (1 - step / protocol.steps) ** protocol.power
        if step < protocol.warmup_steps:
            left = 1 - step / protocol.warmup_steps
            rate *= 1 - left * (1 - protocol.warmup_start)
        yield Step(rows, rate)
