"""What of a run a checkpoint holds, and how the run goes on from it."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from torch import Tensor

from transferkit.finetune.checkpoints import (
    flat_optimizer,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)

if TYPE_CHECKING:
    from transferkit.finetune.loop import Training

__all__ = ["resume_run", "save_run"]


def save_run(run: Training, step: int, seconds: float) -> None:
    """Write the checkpoint of a run that has done some steps of its epoch.

    Parameters
    ----------
    run : Training
        After an epoch, or within one.
    step : int
        Steps of the epoch that are done.
    seconds : float
        Training time so far.
    """
    if not run.processes.is_first:
        return
    optimizer, plain = flat_optimizer(run.optimizer)
    parts: dict[str, dict[str, Tensor]] = {
        "network": dict(run.network.state_dict()),
        "best": run.best,
        "optimizer": optimizer,
        "ema": {} if run.ema is None else dict(run.ema.module.state_dict()),
    }
    tensors = {f"{part}:{n}": t for part, values in parts.items() for n, t in values.items()}
    state = {
        "signature": run.signature,
        "epochs": run.recipe.epochs,
        "most_steps": run.most_steps,
        "epoch": run.epoch,
        "step": step,
        "loss_sum": run.loss_sum,
        "seconds": seconds,
        "history": [
            {k: v if math.isfinite(v) else None for k, v in h.items()} for h in run.history
        ],
        "best_epoch": run.best_epoch,
        "optimizer": plain,
        "scaler": run.scaler.state_dict(),
    }
    write_checkpoint(run.folder, tensors, state)


def resume_run(run: Training) -> None:
    """Bring a run to where its checkpoint was written.

    Raises
    ------
    FileNotFoundError
        If there's no checkpoint.
    ValueError
        If it is another run's.
    """
    tensors, state = read_checkpoint(run.folder)
    if state["signature"] != run.signature:
        raise ValueError(
            f"the checkpoint in {str(run.folder)!r} belongs to another run: images, labels, "
            f"backbone, strategy or recipe differ; give what it was started with, or start again "
            f"without resume (--resume)"
        )
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimizer": {}, "ema": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(":")
        parts[part][rest] = tensor
    run.network.load_state_dict(parts["network"])
    restore_optimizer(run.optimizer, parts["optimizer"], state["optimizer"])
    if run.ema is not None:
        run.ema.module.load_state_dict(parts["ema"])
    run.scaler.load_state_dict(state["scaler"])
    run.best = parts["best"]
    run.recipe = dataclasses.replace(run.recipe, epochs=state["epochs"])
    run.most_steps = state.get("most_steps")  # earlier checkpoints don't have it
    for name in ("epoch", "step", "loss_sum", "seconds", "best_epoch"):
        setattr(run, name, state[name])
    run.history = [{k: _number(v) for k, v in line.items()} for line in state["history"]]


def _number(value: Any) -> Any:
    return math.nan if value is None else value
