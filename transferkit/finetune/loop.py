"""The training loop: batches → loss → gradient → step; a look at the held-out part each epoch.

What is drawn in a step depends on the seed and the step's number only. So a run that goes on
from a checkpoint is the run that was never interrupted.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferkit.extract.allocator import kept_pages
from transferkit.finetune.checkpoints import CHECKPOINT, TrainingStopped
from transferkit.finetune.curves import Curves
from transferkit.finetune.evaluation import outputs_of
from transferkit.finetune.mixing import mixing
from transferkit.finetune.network import TunedNetwork
from transferkit.finetune.objective import Objective
from transferkit.finetune.optimization import create_optimizer, rate_at, running_mean, set_rate
from transferkit.finetune.processes import Processes
from transferkit.finetune.recipe import Recipe
from transferkit.finetune.resumption import resume_run, save_run
from transferkit.finetune.samples import Part, batches, epoch_order, seed_of
from transferkit.finetune.timing import too_short

__all__ = ["Training"]

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 120.0
"""Within an epoch, a checkpoint is written after this time."""


@dataclass(eq=False)
class Training:
    """One run: what it was asked for, and how far it is.

    Parameters
    ----------
    network : TunedNetwork
        Trained in place; in the end it has the best epoch's weights.
    objective : Objective
        Loss and metric.
    recipe : Recipe
        How.
    train : Part
        What is trained on.
    held : Part, optional
        What the best epoch is chosen by.
    processes : Processes
        Device and company.
    folder : Path
        For the checkpoint and the curves.
    signature : str
        Of all that decides the result; a checkpoint of another run is refused.
    deadline : float, default=inf
        On `time.monotonic`'s clock; the epochs are cut down to what fits.
    strategy : str, default=""
        Its name, for what is said of the time.
    keeps_start : bool, default=True
        Whether the start is kept where no epoch is better; a head that has learnt nothing
        isn't worth it.
    """

    network: TunedNetwork
    objective: Objective
    recipe: Recipe
    train: Part
    held: Part | None
    processes: Processes
    folder: Path
    signature: str
    deadline: float = math.inf
    tensorboard: bool = False
    progress: bool = False
    strategy: str = ""
    keeps_start: bool = True
    # Steps of an epoch, where not even one fits before the deadline.
    most_steps: int | None = None
    # How far it is: what a checkpoint holds beside weights and optimizer.
    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0

    def fit(self, *, resume: bool = False) -> None:
        """Train to the end, or to the epoch after which nothing gets better."""
        devices = [self.processes.device] if self.processes.device.type == "cuda" else []
        with kept_pages(), torch.random.fork_rng(devices=devices):
            self._start(resume)
            with self._bar() as bar:
                while self.epoch < self.recipe.epochs and not self._is_stale():
                    self._train_epoch(bar)
                    self._finish_epoch(bar)
                    if self._is_late():
                        break
        self.network.load_state_dict(self.best)
        self.curves.finish()

    # ---- an epoch ----

    def _train_epoch(self, bar: Any) -> None:
        start = time.monotonic()
        last_saved = start
        rows = self._rows(self.epoch)
        seeds = (self.recipe.seed, self.epoch)
        parts = [part for row in rows[self.step :] for part in row]
        inputs = batches(self.train.samples, parts, seeds, self.processes.n_workers)
        self.prepared.train()
        n_steps = len(rows) * self.recipe.epochs
        for step in range(self.step, len(rows)):
            self.step = step
            number = self.epoch * len(rows) + self.step
            set_rate(self.optimizer, rate_at(number, n_steps, self.recipe))
            self.loss_sum += self._take_step(rows[self.step], inputs, number)
            bar.update()
            bar.set_postfix(self._shown(self.loss_sum / (self.step + 1)), refresh=False)
            if time.monotonic() - last_saved > CHECKPOINT_SECONDS and self.step + 1 < len(rows):
                last_saved = time.monotonic()
                save_run(self, self.step + 1, self.seconds + last_saved - start)
        self.seconds += time.monotonic() - start

    def _take_step(self, row: list[np.ndarray], inputs: Iterator[Tensor], number: int) -> float:
        """One step of the optimizer; the mean loss of its images."""
        total = torch.zeros((), device=self.processes.device)
        for n, part in enumerate(row):
            images = next(inputs)
            # After the images, whose augmentation sets the generator too.
            torch.manual_seed(seed_of(self.recipe.seed, number, n, self.processes.rank))
            with self.processes.without_averaging(self.prepared, n + 1 < len(row)):
                total += self._backward(images, self.train.targets[part]) / len(row)
        loss = float(total)
        if not math.isfinite(loss):
            raise self._not_finite(loss)
        if self.recipe.clip:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.trained, self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.network, step=number)
        return loss

    def _backward(self, images: Tensor, targets: Tensor) -> Tensor:
        device = self.processes.device
        images, targets = images.to(device), targets.to(device)
        if self.mix is not None:
            images, targets = self.mix(images.float(), targets)
        with self.processes.numeric_class(self.recipe.precision):
            loss = self.objective.loss(self.prepared(images), targets)
        torch.autograd.backward(self.scaler.scale(loss / self.recipe.accumulate))
        return loss.detach()

    def _finish_epoch(self, bar: Any) -> None:
        n_steps = self.step + 1
        mean = torch.tensor(self.loss_sum / n_steps, device=self.processes.device)
        train_loss = float(self.processes.mean(mean))
        self.epoch += 1
        self._look(train_loss)
        self.loss_sum, self.step = 0.0, 0
        bar.set_postfix(self._shown(train_loss), refresh=False)
        save_run(self, 0, self.seconds)

    def _look(self, train_loss: float) -> None:
        """Measure on the held-out part, and keep the weights if they are the best so far."""
        shown = self.network if self.ema is None else self.ema.module
        line = {
            "epoch": self.epoch,
            "seconds": round(self.seconds, 3),
            "learning_rate": self.optimizer.param_groups[-1]["lr"] if self.epoch else 0.0,
            "train_loss": train_loss,
        }
        is_best = True
        if self.held is not None:
            outputs = outputs_of(
                shown, self.held.samples, self.objective, self.processes, self.recipe.precision
            )
            line["val_loss"] = self.objective.plain_loss(outputs, self.held.targets)
            line["val_metric"] = self.objective.metric(outputs, self.held.targets)
            if self.history and (self.best_epoch or self.keeps_start):
                chosen = self.history[self.best_epoch]
                is_best = _rank(line) > _rank(chosen)
        self.history.append(line)
        if is_best:
            self.best_epoch = self.epoch
            self.best = {n: t.detach().cpu().clone() for n, t in shown.state_dict().items()}
        if self.processes.is_first:
            self.curves.add(self.history)

    # ---- start and end ----

    def _start(self, resume: bool) -> None:
        self._check_batch()
        self.curves = Curves(
            self.folder, self.objective.metric_name, self.tensorboard and self.processes.is_first
        )
        self.prepared = self.processes.prepare(self.network)
        self.trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = create_optimizer(self.network, self.recipe)
        device = self.processes.device.type
        self.scaler = torch.amp.GradScaler(device, enabled=self.recipe.precision == "fp16")
        self.mix = mixing(self.recipe, self.objective.n_outputs)
        self.ema = running_mean(self.network, self.recipe)
        if resume:
            resume_run(self)
            return
        if math.isfinite(self.deadline):
            self._cut_to_deadline()
        self._look(math.nan)

    def _check_batch(self) -> None:
        parts = self.recipe.accumulate * self.processes.count
        if self.recipe.batch_size % parts:
            raise ValueError(
                f"batch_size is {self.recipe.batch_size}, which {self.processes.count} processes "
                f"in {self.recipe.accumulate} parts can't share; give a multiple of {parts}"
            )

    def _cut_to_deadline(self) -> None:
        """Choose as many epochs as fit before the deadline, or a part of one."""
        seconds, n_held = self._image_seconds(), 0 if self.held is None else len(self.held.samples)
        n_steps, n_images = len(self._rows(0)), len(self.train.samples)
        # Without gradient an image takes a third of the time.
        look = seconds * n_held / 3
        epoch = seconds * n_steps * self.recipe.batch_size + look
        left = self.deadline - time.monotonic()
        fitting = max(0.95 * left - look, 0) / epoch
        epochs = min(self.recipe.epochs, max(int(fitting), 1))
        self.recipe = dataclasses.replace(self.recipe, epochs=epochs)
        if fitting >= 1:
            logger.info("an epoch takes about %.1f s; training for %d epochs", epoch, epochs)
            return
        self.most_steps = min(max(int(fitting * n_steps), 1), n_steps)
        logger.warning(
            "%s",
            too_short(self.strategy, fitting, n_images, epoch, left, self.recipe.minutes),
        )

    def _image_seconds(self) -> float:
        """Seconds that training takes for one image, from a few steps without effect."""
        before = {name: value.clone() for name, value in self.network.state_dict().items()}
        row = self._rows(0)[0]
        self.prepared.train()
        times = []
        for _ in range(4):
            start = time.monotonic()
            for n, images in enumerate(batches(self.train.samples, row, (0,), 0)):
                self._backward(images, self.train.targets[row[n]])
            times.append(time.monotonic() - start)
        self.optimizer.zero_grad(set_to_none=True)
        self.network.load_state_dict(before)
        seconds = torch.tensor(sorted(times[1:])[1], device=self.processes.device)
        return float(self.processes.mean(seconds)) / self.recipe.batch_size

    def _rows(self, epoch: int) -> list[list[np.ndarray]]:
        """Positions of this process's images, for every step and part of an epoch."""
        codes = self.train.targets.numpy() if self.objective.task == "classification" else None
        order = epoch_order(len(self.train.samples), self.recipe, epoch, codes)
        order = order[: self.most_steps]
        shape = (self.recipe.accumulate, self.processes.count, -1)
        return [list(row.reshape(shape)[:, self.processes.rank]) for row in order]

    def _is_late(self) -> bool:
        """Whether the time is up for any of the processes; they must agree."""
        if math.isinf(self.deadline):
            return False
        late = torch.tensor(float(time.monotonic() > self.deadline), device=self.processes.device)
        return float(self.processes.mean(late)) > 0

    def _is_stale(self) -> bool:
        patience = self.recipe.patience
        return bool(patience and self.held and self.epoch - self.best_epoch >= patience)

    # ---- what is shown and kept ----

    def _bar(self) -> Any:
        from tqdm import tqdm

        per_epoch = len(self._rows(self.epoch))
        return tqdm(
            total=self.recipe.epochs * per_epoch,
            initial=self.epoch * per_epoch + self.step,
            desc="fine-tune",
            unit=" steps",
            disable=not (self.progress and self.processes.is_first),
            file=sys.stderr,
        )

    def _shown(self, loss: float) -> dict[str, str]:
        shown = {"epoch": f"{self.epoch}/{self.recipe.epochs}", "loss": f"{loss:.3f}"}
        if self.history and "val_metric" in self.history[-1]:
            shown[self.objective.metric_name] = f"{self.history[-1]['val_metric']:.3f}"
        return shown

    def _not_finite(self, loss: float) -> TrainingStopped:
        path = self.folder / CHECKPOINT
        kept = f"the last good checkpoint is {str(path)!r}" if path.is_file() else "none was kept"
        return TrainingStopped(
            f"the loss is {loss} in step {self.step + 1} of epoch {self.epoch + 1}: the weights "
            f"ran away; start again with a smaller learning_rate (it was "
            f"{self.recipe.learning_rate:g}) or with clip=1; {kept}"
        )


def _rank(line: dict[str, float]) -> tuple[float, float]:
    """What decides between epochs: the metric, and of equals the smaller loss."""
    return line["val_metric"], -line["val_loss"]
