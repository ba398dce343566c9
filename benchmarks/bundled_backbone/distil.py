"""The teacher, a buffer of crops with the teacher's maps, and the loss of the distillation."""

from __future__ import annotations

import argparse
from pathlib import Path

import timm
import torch
from images import CropSource, augment, mix
from inherit import principal, rows_of, streams
from torch import Tensor
from torch.nn.functional import cosine_similarity, kl_div, log_softmax

__all__ = ["CHUNK", "Buffer", "Teacher", "distillation_loss", "normalise"]

TEACHER = "weights/mobilenetv2_100.coral_in1k"
CHUNK = 64  # crops per call of the teacher


def normalise(images: Tensor) -> Tensor:
    """[0, 1] → [-1, 1], channels last."""
    return (images * 2 - 1).contiguous(memory_format=torch.channels_last)


class Teacher:
    """The frozen teacher: what it makes of crops, and logits of features.

    Attributes
    ----------
    projections : list of (axes, mean)
        For each stage but the first, principal axes ``(d', d)`` of the teacher's linear stream
        and its mean ``(d,)``; ``d'`` is the student's width.
    """

    def __init__(self, data: Path) -> None:
        name = f"local-dir:{data / TEACHER}"
        self.network = timm.create_model(name, pretrained=True).eval()
        self.network.requires_grad_(False).to(memory_format=torch.channels_last)
        self.projections: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def find_projections(self, images: Tensor, widths: list[int]) -> None:
        """Principal axes over ``images`` in [0, 1]."""
        maps, _ = streams(self.network, normalise(images))
        self.projections = [principal(rows_of(m, 0), n) for m, n in zip(maps, widths, strict=True)]

    @torch.no_grad()
    def targets(self, images: Tensor) -> list[Tensor]:
        """Projected streams ``(n, d', h, w)`` and last the final maps, as float16."""
        with torch.autocast("cpu", torch.bfloat16):
            maps, final = streams(self.network, normalise(images))
        projected = [
            torch.einsum("nchw,dc->ndhw", m.float() - mean.float()[:, None, None], axes.float())
            for m, (axes, mean) in zip(maps, self.projections, strict=True)
        ]
        return [m.half() for m in (*projected, final.float())]

    def logits(self, features: Tensor) -> Tensor:
        """``(n, 1000)``; gradients flow to the features."""
        return self.network.classifier(features)


class Buffer:
    """The newest crops with their targets: each is used ``reuse`` times, in different company."""

    def __init__(self, source: CropSource, teacher: Teacher, options: argparse.Namespace) -> None:
        self.source, self.teacher, self.options = source, teacher, options
        self.chunks: list[list[Tensor]] = []

    def fresh(self, n_crops: int) -> Tensor:
        """Crops, augmented and mixed, uint8."""
        rng = self.source.generator
        crops = mix(augment(self.source.crops(n_crops), rng), rng, self.options.mix)
        return (crops * 255).round().byte()

    def add(self, n_crops: int = CHUNK) -> None:
        """New crops and what the teacher makes of them; the oldest go."""
        crops = self.fresh(n_crops)
        self.chunks.append([crops, *self.teacher.targets(crops.float() / 255)])
        if len(self.chunks) * n_crops > self.options.buffer:
            del self.chunks[0]

    def batch(self, n: int) -> tuple[Tensor, list[Tensor]]:
        """``n`` crops in [0, 1], half of them mirrored, and their targets mirrored with them."""
        rng = self.source.generator
        picks = rng.integers(len(self.chunks) * CHUNK, size=n)
        images, *targets = (
            torch.stack([self.chunks[p // CHUNK][kind][p % CHUNK] for p in picks]).float()
            for kind in range(len(self.chunks[0]))
        )
        flipped = torch.tensor(rng.random(n) < 0.5)[:, None, None, None]
        return torch.where(flipped, images.flip(3), images) / 255, [
            torch.where(flipped, t.flip(3), t) for t in targets
        ]


def distillation_loss(
    maps: list[Tensor],
    targets: list[Tensor],
    scale: Tensor,
    teacher: Teacher,
    options: argparse.Namespace,
) -> Tensor:
    """Errors of pooled features, of the logits they imply, and of maps at every position.

    Pooled features and final maps are divided by the teacher's deviation ``scale``; streams by
    one number each, so that principal axes keep their weight.
    """
    student, target = maps[-1].mean((2, 3)), targets[-1].mean((2, 3))
    loss = options.features * ((student - target) / scale).square().mean()
    loss = loss + options.features * (1 - cosine_similarity(student, target)).mean()
    if options.dense:
        final = (maps[-1] - targets[-1]) / (scale[:, None, None] * 2)
        loss = loss + options.dense * final.square().mean()
        for ours, theirs in zip(maps[:-1], targets[:-1], strict=True):
            loss = loss + options.dense * (ours - theirs).square().mean() / theirs.var()
    if options.logits:
        t = options.temperature
        ours = log_softmax(teacher.logits(student) / t, dim=1)
        theirs = log_softmax(teacher.logits(target) / t, dim=1)
        divergence = kl_div(ours, theirs, log_target=True, reduction="batchmean")
        loss = loss + options.logits * t * t * divergence
    return loss
