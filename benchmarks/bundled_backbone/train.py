"""Train the bundled backbone: distil a MobileNetV2 into a smaller one, on free images only.

    TRANSFERKIT_DATA=FOLDER python benchmarks/bundled_backbone/train.py --out RUN --minutes 60

Run again with the same ``--out`` and it goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from images import CropSource, augment, load_photos, mix
from inherit import inherit, principal, rows_of, streams
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, kl_div, log_softmax

STUDENT = "mobilenetv2_050"
# The teacher's padding: with timm's default one the maps would be shifted against the teacher's.
ARGUMENTS = {"num_classes": 0, "pad_type": "same"}
TEACHER = "weights/mobilenetv2_100.coral_in1k"
CHUNK = 64  # crops per call of the teacher


def keep_freed_memory() -> None:
    """Let glibc reuse big blocks: handing them back costs a page fault per 4 kB each step."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return  # not glibc, nothing to tune
    mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
    mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


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


class Trainer:
    """Student, its moving average, optimiser and step: all that a checkpoint holds."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.student = timm.create_model(STUDENT, **ARGUMENTS)
        self.average = timm.create_model(STUDENT, **ARGUMENTS).eval().requires_grad_(False)
        for network in (self.student, self.average):
            network.to(memory_format=torch.channels_last)
        decayed = [p for p in self.student.parameters() if p.ndim > 1]
        others = [p for p in self.student.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": decayed}, {"params": others, "weight_decay": 0.0}],
            lr=options.lr,
            weight_decay=options.weight_decay,
        )
        self.step, self.images_seen, self.teacher_images, self.seconds = 0, 0, 0, 0.0
        self.projections: list[tuple[Tensor, Tensor]] = []
        self.teacher: Teacher

    def share(self, seconds: float) -> float:
        """How much of the run is over, 0 to 1."""
        if self.options.steps:
            return self.step / self.options.steps
        return seconds / (60 * self.options.minutes)

    def update_average(self) -> None:
        """Weights and batch-norm statistics move together, so they stay consistent."""
        decay = min(self.options.ema, (1 + self.step) / (10 + self.step))
        ours = self.student.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(ours[name], 1 - decay)

    def learning_rate(self, share: float) -> float:
        """Linear warm-up, then half a cosine over ``share`` of the run, 0 to 1."""
        warm = min(1.0, (self.step + 1) / self.options.warmup)
        return self.options.lr * warm * (0.5 + 0.5 * math.cos(math.pi * min(share, 1.0)) + 1e-3)

    def state(self) -> dict[str, Any]:
        """Tensors and plain numbers only: ``torch.load(weights_only=True)`` reads it."""
        return {
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "counts": [self.step, self.images_seen, self.teacher_images],
            "seconds": self.seconds,
            "projections": self.projections,
        }

    def save(self, path: Path) -> None:
        """Written whole or not at all."""
        temporary = path.with_suffix(".tmp")
        torch.save(self.state(), temporary)
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.student.load_state_dict(state["student"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.images_seen, self.teacher_images = state["counts"]
        self.seconds, self.projections = state["seconds"], state["projections"]


def train(options: argparse.Namespace) -> None:
    """The whole run."""
    data = Path(os.environ["TRANSFERKIT_DATA"])
    trainer, teacher = Trainer(options), Teacher(data)
    checkpoint = options.out / "checkpoint.pt"
    options.out.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        trainer.load(checkpoint)
    rng = np.random.default_rng([options.seed, trainer.step])
    start = time.perf_counter() - trainer.seconds
    source = CropSource(load_photos(data), rng, photo_share=options.photo_share, size=options.size)
    buffer = Buffer(source, teacher, options)
    prepare(trainer, teacher, buffer)
    written = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    (options.out / "options.json").write_text(json.dumps(written, indent=1))
    debt, reported, scale = 0.0, time.perf_counter(), torch.ones(0)
    while (share := trainer.share(time.perf_counter() - start)) < 1:
        if share >= options.grow and source.size != options.last_size:
            source.size, buffer.chunks = options.last_size, []
        if not buffer.chunks:
            scale = fill(trainer, buffer)
        debt += options.batch / options.reuse
        while debt >= CHUNK:
            buffer.add()
            trainer.teacher_images += CHUNK
            debt -= CHUNK
        loss = take_step(trainer, buffer, scale, share)
        trainer.seconds = time.perf_counter() - start
        if trainer.step % options.report == 0:
            now = time.perf_counter()
            speed = options.report * options.batch / (now - reported)
            reported = now
            print(f"{trainer.step}  {share:.1%}  loss {loss:.4f}  {speed:.0f} images/s", flush=True)
            trainer.save(checkpoint)
    trainer.save(checkpoint)
    print(f"done: {trainer.step} steps, {trainer.images_seen} images, {trainer.seconds:.0f} s")


def prepare(trainer: Trainer, teacher: Teacher, buffer: Buffer) -> None:
    """Projections from the checkpoint or from crops; start weights, once."""
    if not trainer.projections:
        crops = torch.cat([buffer.fresh(CHUNK) for _ in range(6)]).float() / 255
        widths = [stage[0].conv_pwl.out_channels for stage in trainer.student.blocks[1:]]
        teacher.find_projections(crops, widths)
        trainer.projections = teacher.projections
        if trainer.options.init == "inherit":
            trainer.student.eval()
            inherit(trainer.student, teacher.network, normalise(crops), teacher.projections)
            trainer.average.load_state_dict(trainer.student.state_dict())
    teacher.projections = trainer.projections
    trainer.teacher = teacher
    trainer.student.train()


def fill(trainer: Trainer, buffer: Buffer) -> Tensor:
    """An eighth of the buffer, and the deviations of pooled features over it, ``(1280,)``."""
    for _ in range(max(trainer.options.buffer // 8 // CHUNK, 4)):
        buffer.add()
        trainer.teacher_images += CHUNK
    scale = torch.cat([chunk[-1].float().mean((2, 3)) for chunk in buffer.chunks]).std(0)
    # A feature that hardly ever fires would otherwise weigh as much as all others.
    return scale.clamp(min=float(scale.median()) / 2)


def take_step(trainer: Trainer, buffer: Buffer, scale: Tensor, share: float) -> float:
    """One optimiser step; returns the loss."""
    options = trainer.options
    images, targets = buffer.batch(options.batch)
    maps, final = streams(trainer.student, normalise(images))
    loss = distillation_loss([*maps, final], targets, scale, trainer.teacher, options)
    for group in trainer.optimiser.param_groups:
        group["lr"] = trainer.learning_rate(share)
    trainer.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(trainer.student.parameters(), 5.0)
    trainer.optimiser.step()
    trainer.step += 1
    trainer.images_seen += options.batch
    trainer.update_average()
    return loss.item()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the checkpoint")
    add("--minutes", type=float, default=0, help="length of the run in wall-clock time")
    add("--steps", type=int, default=0, help="length of the run in steps")
    add("--init", choices=["inherit", "random"], default="inherit", help="start weights")
    add("--batch", type=int, default=64)
    add("--reuse", type=float, default=4, help="how often each crop is used")
    add("--buffer", type=int, default=8192, help="crops held in memory")
    add("--photo-share", type=float, default=0.6, help="share of crops from photos")
    add("--mix", type=float, default=0.3, help="share of CutMix and mixup crops")
    add("--features", type=float, default=1.0, help="weight of the feature losses")
    add("--logits", type=float, default=0.1, help="weight of the KL divergence")
    add("--temperature", type=float, default=2.0)
    add("--dense", type=float, default=1.0, help="weight of errors at every position")
    add("--size", type=int, default=96, help="px of crops at first")
    add("--last-size", type=int, default=128, help="px of crops at the end")
    add("--grow", type=float, default=0.75, help="share of the run after which px grow")
    add("--lr", type=float, default=1e-3)
    add("--weight-decay", type=float, default=0.02)
    add("--warmup", type=int, default=100, help="steps")
    add("--ema", type=float, default=0.998)
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=1)
    add("--report", type=int, default=20, help="steps between lines and checkpoints")
    return parser.parse_args()


if __name__ == "__main__":
    keep_freed_memory()
    chosen = parse()
    torch.set_num_threads(chosen.threads)
    train(chosen)
