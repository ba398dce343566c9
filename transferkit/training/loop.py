"""The training loop: each step goes from a batch to a loss, a gradient and an update.

What is drawn in a step depends on the seed and the step's number only. So a run that goes on
from a checkpoint is the run that was never interrupted.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.forward.allocator import kept_pages
from transferkit.training.batches import Batches, seed_of
from transferkit.training.checkpoints import (
    CHECKPOINT,
    Learner,
    RunState,
    TrainingStopped,
    restore_run,
    save_run,
)
from transferkit.training.curves import Curves
from transferkit.training.processes import Processes
from transferkit.training.schedule import create_optimizer, rate_at, running_mean, set_rate
from transferkit.training.settings import TrainingSettings
from transferkit.training.timing import Shortage, epochs_that_fit

__all__ = ["Evaluation", "TrainingLoop"]

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 120.0
"""Within an epoch, a checkpoint is written after this time."""


class Evaluation(NamedTuple):
    """Evaluation of an epoch. A larger metric is better and, of equal ones, a smaller loss."""

    metric: float
    loss: float = 0.0


@dataclass(eq=False)
class TrainingLoop:
    """Train a network epoch by epoch, and keep the best epoch's weights.

    After `fit` the network has these weights, and `state` holds the history.

    Parameters
    ----------
    network : nn.Module
        Trained in place; in the end it has the best epoch's weights.
    loss : callable
        ``loss(network, batch)`` is the mean loss of a batch, as `Batches` loads it, on the
        device. It passes the batch's inputs through the network that it is given, which may
        be the process's wrapper of `network`.
    batches : Batches
        What is trained on.
    settings : TrainingSettings
        How.
    processes : Processes
        This process's device, and the other processes of the run.
    folder : Path
        For the checkpoint and the curves.
    signature : str
        Of all that decides the result; a checkpoint of another run is refused.
    groups : sequence of dict
        The network's parameters with their weight decay and their share of the learning rate,
        from `transferkit.training.schedule.parameter_groups`.
    evaluate : callable, optional
        ``evaluate(network)`` gives the `Evaluation` that the best epoch is chosen by; without
        it the last epoch is kept. All processes call it.
    metric_name : str, default="metric"
        What its metric is.
    n_evaluated : int, default=0
        Samples that an evaluation passes through the network, to foretell its time.
    keeps_start : bool, default=True
        Whether the start is kept where no epoch is better; a head that has learnt nothing
        isn't worth it.
    deadline : float, default=inf
        On `time.monotonic`'s clock; the epochs are cut down to what fits.
    describe_shortage : callable, default=str
        What is said, of a `Shortage`, where not even one epoch fits.
    title : str, default="train"
        Of the progress bar.
    draws : bool, default=True
        Whether the curves are drawn in the end, if matplotlib is installed.
    tensorboard, progress : bool, default=False
        What is shown.
    """

    network: nn.Module
    loss: Callable[[nn.Module, Any], Tensor]
    batches: Batches
    settings: TrainingSettings
    processes: Processes
    folder: Path
    _: dataclasses.KW_ONLY
    signature: str
    groups: Sequence[dict[str, Any]]
    evaluate: Callable[[nn.Module], Evaluation] | None = None
    metric_name: str = "metric"
    n_evaluated: int = 0
    keeps_start: bool = True
    deadline: float = math.inf
    describe_shortage: Callable[[Shortage], str] = str
    title: str = "train"
    draws: bool = True
    tensorboard: bool = False
    progress: bool = False

    def __post_init__(self) -> None:
        self.state = RunState(self.settings.epochs)

    def fit(self, *, resume: bool = False) -> None:
        """Train to the end, or to the epoch after which nothing gets better."""
        devices = [self.processes.device] if self.processes.device.type == "cuda" else []
        with kept_pages(), torch.random.fork_rng(devices=devices):
            self._start(resume)
            with self._bar() as bar:
                while self.state.epoch < self.state.epochs and not self._is_stale():
                    self._train_epoch(bar)
                    self._finish_epoch(bar)
                    if self._is_late():
                        break
        self.network.load_state_dict(self.state.best)
        self.curves.finish(draws=self.draws)

    # ---- an epoch ----

    def _train_epoch(self, bar: Any) -> None:
        state = self.state
        start = time.monotonic()
        last_saved = start
        rows = self._rows(state.epoch)
        parts = [part for row in rows[state.step :] for part in row]
        seeds = (self.settings.seed, state.epoch)
        batches = self.batches.load(parts, seeds, self.processes.n_workers)
        self.prepared.train()
        n_steps = len(rows) * state.epochs
        for step in range(state.step, len(rows)):
            state.step = step
            number = state.epoch * len(rows) + step
            set_rate(self.learner.optimizer, rate_at(number, n_steps, self.settings))
            state.loss_sum += self._take_step(len(rows[step]), batches, number)
            bar.update()
            bar.set_postfix(self._progress_values(state.loss_sum / (step + 1)), refresh=False)
            if time.monotonic() - last_saved > CHECKPOINT_SECONDS and step + 1 < len(rows):
                last_saved = time.monotonic()
                self._save(step + 1, state.seconds + last_saved - start)
        state.seconds += time.monotonic() - start

    def _take_step(self, n_parts: int, batches: Iterator[Any], number: int) -> float:
        """Take one step of the optimizer, and return the mean loss of its samples."""
        total = torch.zeros((), device=self.processes.device)
        for n in range(n_parts):
            batch = next(batches)
            # After the samples, whose augmentation sets the generator too.
            torch.manual_seed(seed_of(self.settings.seed, number, n, self.processes.rank))
            with self.processes.without_averaging(self.prepared, n + 1 < n_parts):
                total += self._backward(batch) / n_parts
        loss = float(total)
        if not math.isfinite(loss):
            raise self._not_finite(loss)
        learner = self.learner
        if self.settings.clip:
            learner.scaler.unscale_(learner.optimizer)
            torch.nn.utils.clip_grad_norm_(self.trained, self.settings.clip)
        learner.scaler.step(learner.optimizer)
        learner.scaler.update()
        learner.optimizer.zero_grad(set_to_none=True)
        if learner.ema is not None:
            learner.ema.update(learner.network, step=number)
        return loss

    def _backward(self, batch: Any) -> Tensor:
        with self.processes.numeric_class(self.settings.precision):
            loss = self.loss(self.prepared, self.processes.to_device(batch))
        torch.autograd.backward(self.learner.scaler.scale(loss / self.settings.accumulate))
        return loss.detach()

    def _finish_epoch(self, bar: Any) -> None:
        state = self.state
        mean = torch.tensor(state.loss_sum / (state.step + 1), device=self.processes.device)
        train_loss = float(self.processes.mean(mean))
        state.epoch += 1
        self._evaluate(train_loss)
        state.loss_sum, state.step = 0.0, 0
        bar.set_postfix(self._progress_values(train_loss), refresh=False)
        self._save(0, state.seconds)

    def _evaluate(self, train_loss: float) -> None:
        """Evaluate the network, and keep its weights if they are the best so far."""
        state, ema = self.state, self.learner.ema
        network = self.network if ema is None else ema.module
        line = {
            "epoch": state.epoch,
            "seconds": round(state.seconds, 3),
            "learning_rate": self.learner.optimizer.param_groups[-1]["lr"] if state.epoch else 0.0,
            "train_loss": train_loss,
        }
        is_best = True
        if self.evaluate is not None:
            evaluation = self.evaluate(network)
            line |= {"val_loss": evaluation.loss, "val_metric": evaluation.metric}
            if state.history and (state.best_epoch or self.keeps_start):
                is_best = _rank(line) > _rank(state.history[state.best_epoch])
        state.history.append(line)
        if is_best:
            state.best_epoch = state.epoch
            state.best = {n: t.detach().cpu().clone() for n, t in network.state_dict().items()}
        if self.processes.is_first:
            self.curves.add(state.history)

    # ---- start and end ----

    def _start(self, resume: bool) -> None:
        self._check_batch()
        self.curves = Curves(
            self.folder, self.metric_name, self.tensorboard and self.processes.is_first
        )
        self.prepared = self.processes.prepare(self.network)
        self.trained = [p for p in self.network.parameters() if p.requires_grad]
        device = self.processes.device.type
        self.learner = Learner(
            self.network,
            create_optimizer(self.groups, self.settings),
            torch.amp.GradScaler(device, enabled=self.settings.precision == "fp16"),
            running_mean(self.network, self.settings),
        )
        if resume:
            self.state = restore_run(self.folder, self.signature, self.learner)
            return
        if math.isfinite(self.deadline):
            self._cut_to_deadline()
        self._evaluate(math.nan)

    def _save(self, step: int, seconds: float) -> None:
        """Write the checkpoint of a run that has done some steps of its epoch."""
        if self.processes.is_first:
            state = dataclasses.replace(self.state, step=step, seconds=seconds)
            save_run(self.folder, self.signature, state, self.learner)

    def _check_batch(self) -> None:
        parts = self.settings.accumulate * self.processes.count
        if self.settings.batch_size % parts:
            raise ValueError(
                f"batch_size is {self.settings.batch_size}, which {self.processes.count} processes "
                f"in {self.settings.accumulate} parts can't share; give a multiple of {parts}"
            )

    def _cut_to_deadline(self) -> None:
        """Choose as many epochs as fit before the deadline, or a part of one."""
        seconds, n_steps = self._sample_seconds(), len(self._rows(0))
        # Without gradient a sample takes a third of the time.
        evaluation = seconds * self.n_evaluated / 3
        epoch = seconds * n_steps * self.settings.batch_size + evaluation
        left = self.deadline - time.monotonic()
        fitting = epochs_that_fit(left, epoch, evaluation)
        self.state.epochs = min(self.settings.epochs, max(int(fitting), 1))
        if fitting >= 1:
            logger.info(
                "an epoch takes about %.1f s; training for %d epochs", epoch, self.state.epochs
            )
            return
        self.state.most_steps = min(max(int(fitting * n_steps), 1), n_steps)
        shortage = Shortage(fitting, len(self.batches), epoch, left)
        logger.warning("%s", self.describe_shortage(shortage))

    def _sample_seconds(self) -> float:
        """Measure the seconds that training takes per sample, in a few steps that are undone."""
        before = {name: value.clone() for name, value in self.network.state_dict().items()}
        row = self._rows(0)[0]
        self.prepared.train()
        times = []
        for _ in range(4):
            start = time.monotonic()
            for batch in self.batches.load(row, (0,), 0):
                self._backward(batch)
            times.append(time.monotonic() - start)
        self.learner.optimizer.zero_grad(set_to_none=True)
        self.network.load_state_dict(before)
        seconds = torch.tensor(sorted(times[1:])[1], device=self.processes.device)
        return float(self.processes.mean(seconds)) / self.settings.batch_size

    def _rows(self, epoch: int) -> list[list[np.ndarray]]:
        """Positions of this process's samples, for each step of an epoch and each of its parts."""
        order = self.batches.order(epoch)[: self.state.most_steps]
        shape = (self.settings.accumulate, self.processes.count, -1)
        return [list(row.reshape(shape)[:, self.processes.rank]) for row in order]

    def _is_late(self) -> bool:
        """Whether the time is up for any of the processes. All of them get the same answer."""
        if math.isinf(self.deadline):
            return False
        late = torch.tensor(float(time.monotonic() > self.deadline), device=self.processes.device)
        return float(self.processes.mean(late)) > 0

    def _is_stale(self) -> bool:
        patience, since = self.settings.patience, self.state.epoch - self.state.best_epoch
        return bool(patience and self.evaluate and since >= patience)

    # ---- what is shown ----

    def _bar(self) -> Any:
        from tqdm import tqdm

        per_epoch = len(self._rows(self.state.epoch))
        return tqdm(
            total=self.state.epochs * per_epoch,
            initial=self.state.epoch * per_epoch + self.state.step,
            desc=self.title,
            unit=" steps",
            disable=not (self.progress and self.processes.is_first),
            file=sys.stderr,
        )

    def _progress_values(self, loss: float) -> dict[str, str]:
        history = self.state.history
        values = {"epoch": f"{self.state.epoch}/{self.state.epochs}", "loss": f"{loss:.3f}"}
        if history and "val_metric" in history[-1]:
            values[self.metric_name] = f"{history[-1]['val_metric']:.3f}"
        return values

    def _not_finite(self, loss: float) -> TrainingStopped:
        path = self.folder / CHECKPOINT
        kept = f"the last good checkpoint is {str(path)!r}" if path.is_file() else "none was kept"
        return TrainingStopped(
            f"the loss is {loss} in step {self.state.step + 1} of epoch {self.state.epoch + 1}: "
            f"the weights ran away; start again with a smaller learning_rate (it was "
            f"{self.settings.learning_rate:g}) or with clip=1; {kept}"
        )


def _rank(line: Mapping[str, float]) -> tuple[float, float]:
    """Sort key of an epoch in the history; see `Evaluation`."""
    return line["val_metric"], -line["val_loss"]
