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
from distil import CHUNK, Buffer, Teacher, distillation_loss, normalise
from images import CropSource, load_photos
from inherit import inherit, streams
from torch import Tensor, nn

STUDENT = "mobilenetv2_050"
# The teacher's padding: with timm's default one the maps would be shifted against the teacher's.
ARGUMENTS = {"num_classes": 0, "pad_type": "same"}


def keep_freed_memory() -> None:
    """Let glibc reuse big blocks: handing them back costs a page fault per 4 kB each step."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return  # not glibc, nothing to tune
    mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
    mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


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
    loop(trainer, buffer, start)
    trainer.save(checkpoint)
    print(f"done: {trainer.step} steps, {trainer.images_seen} images, {trainer.seconds:.0f} s")


def loop(trainer: Trainer, buffer: Buffer, start: float) -> None:
    """Steps, fresh crops, lines and checkpoints until the run's share is 1."""
    options = trainer.options
    debt, reported, scale = 0.0, time.perf_counter(), torch.ones(0)
    while (share := trainer.share(time.perf_counter() - start)) < 1:
        if share >= options.grow and buffer.source.size != options.last_size:
            buffer.source.size, buffer.chunks = options.last_size, []
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
            trainer.save(options.out / "checkpoint.pt")


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
