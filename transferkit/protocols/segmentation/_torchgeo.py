"""What torchgeo-bench's segmentation probes share: settings and training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from transferkit.dense.samples import DenseSamples
from transferkit.protocols import Geometry
from transferkit.protocols.segmentation import SegmentationProbe
from transferkit.protocols.segmentation._head import ProbeHead
from transferkit.protocols.segmentation._training import Step, epochs_of, levels_of, trained

__all__ = ["TorchGeoSegmentation", "fit_torchgeo"]


@dataclass(frozen=True)
class TorchGeoSegmentation:
    """224 px, AdamW without weight decay, 10 epochs of batches of 64, a cosine in whole epochs.

    Read in the project's public code and its ``METHODOLOGY.md``. The validation part is only
    watched there, and so has no part in it here. There the layers are named for each network,
    of a ResNet the four stages: here they are the last layers of each stride from 4 to 32 px,
    and of a plain transformer the last map alone. It measures at 224 px; here as everywhere in
    the px of the images.

    References
    ----------
    torchgeo/torchgeo-bench, ``models/segmentation_heads.py`` and ``SegmentationSolver``.
    """

    geometry: Geometry = Geometry(224, 1.0, "squash", "bilinear")
    feature: str = "pyramid"
    shots: tuple[int, ...] = ()
    batch_size: int = 64
    epochs: int = 10
    lr: float = 1e-3
    least_lr: float = 1e-6
    weight_decay: float = 0.0
    mirrored: bool = False
    counts_void: bool = False
    draws: bool = True
    deviates: tuple[str, ...] = ("measured px",)


def fit_torchgeo(
    protocol: TorchGeoSegmentation,
    head: Callable[[list[int]], ProbeHead],
    samples: DenseSamples,
    seed: int,
    device: str,
) -> SegmentationProbe:
    """Train a head, and keep the last epoch.

    Parameters
    ----------
    protocol : TorchGeoSegmentation
        Settings.
    head : callable
        From the levels' widths to the head, with random weights.
    samples : DenseSamples
        What is trained on.
    seed : int
        Of the start and the order.
    device : str
        Where.
    """
    widths, size = levels_of(samples)
    module, facts = trained(
        lambda: head(widths),
        samples,
        _steps(protocol, len(samples), seed),
        weight_decay=protocol.weight_decay,
        counts_void=protocol.counts_void,
        seed=seed,
        device=device,
    )
    module.input_size = size
    return SegmentationProbe(module, facts)


def _steps(protocol: TorchGeoSegmentation, n: int, seed: int) -> Iterator[Step]:
    """Half a cosine from the highest rate to the least, one value for each epoch.

    References
    ----------
    Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts",
    equation 5.
    """
    generator = torch.Generator().manual_seed(seed)
    batches = epochs_of(n, protocol.batch_size, generator, drop_last=False)
    per_epoch = -(-n // protocol.batch_size)
    for step, rows in zip(range(protocol.epochs * per_epoch), batches, strict=False):
        done = (step // per_epoch) / protocol.epochs
        height = (protocol.lr - protocol.least_lr) * (1 + math.cos(math.pi * done)) / 2
        yield Step(rows, protocol.least_lr + height)
