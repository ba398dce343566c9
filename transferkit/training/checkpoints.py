"""Checkpoints: the state of a run in one safetensors file, which can't run code when it is read.

The file exists whole or not at all: it is written beside the one before, and then takes its
place. A run that goes on from it is the run that was never interrupted.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from transferkit.files import write_whole

__all__ = [
    "CHECKPOINT",
    "Learner",
    "RunState",
    "TrainingStopped",
    "read_checkpoint",
    "restore_run",
    "save_run",
    "warn_of_checkpoint",
]

CHECKPOINT = "checkpoint.safetensors"

logger = logging.getLogger(__name__)


class TrainingStopped(RuntimeError):
    """Training can't go on; the message says why, and what is kept."""


@dataclass(eq=False)
class RunState:
    """Progress of a run. Weights and the optimizer's state are kept elsewhere.

    Parameters
    ----------
    epochs : int
        Epochs of the whole run; a deadline may have cut them down.
    most_steps : int, optional
        Steps of an epoch, where not even one epoch fits before the deadline.
    epoch, step : int
        Epochs that are done, and steps of the one after them.
    loss_sum : float
        Of the losses of these steps.
    seconds : float
        Training time so far.
    history : list of dict
        One line for each epoch; the first is the start, before any step.
    best_epoch : int
        The epoch that is kept.
    best : dict of str to Tensor
        Its weights, on the CPU.
    """

    epochs: int
    most_steps: int | None = None
    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Learner:
    """The objects that change in a step of the optimizer.

    Parameters
    ----------
    network : nn.Module
        What is trained.
    optimizer : torch.optim.Optimizer
        Of its parameters.
    scaler : torch.amp.GradScaler
        Scale of half precision's gradients.
    ema : ModelEmaV3 or None
        Running mean of the network's weights.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: Any = None


def save_run(folder: Path, signature: str, state: RunState, learner: Learner) -> None:
    """Write a run's checkpoint.

    Parameters
    ----------
    folder : Path
        Where the file is.
    signature : str
        Of all that decides the run's result.
    state : RunState
        How far it is; its step is the number of steps of the epoch that are done.
    learner : Learner
        Weights and moments.

    Raises
    ------
    TrainingStopped
        If the disk is full or the folder can't be written to.
    """
    moments, plain = _flat_optimizer(learner.optimizer)
    parts: dict[str, dict[str, Tensor]] = {
        "network": dict(learner.network.state_dict()),
        "best": state.best,
        "optimizer": moments,
        "ema": {} if learner.ema is None else dict(learner.ema.module.state_dict()),
    }
    tensors = {f"{part}:{n}": t for part, values in parts.items() for n, t in values.items()}
    lines = [{k: v if math.isfinite(v) else None for k, v in h.items()} for h in state.history]
    progress = {f.name: getattr(state, f.name) for f in dataclasses.fields(RunState)}
    del progress["best"]
    _write_checkpoint(
        folder,
        tensors,
        {
            **progress,
            "signature": signature,
            "history": lines,
            "optimizer": plain,
            "scaler": learner.scaler.state_dict(),
        },
    )


def restore_run(folder: Path, signature: str, learner: Learner) -> RunState:
    """Restore a learner from its run's checkpoint, and return the run's state.

    Parameters
    ----------
    folder : Path
        Where the file is.
    signature : str
        Of all that decides the run's result.
    learner : Learner
        Changed in place; made for the same network and settings.

    Raises
    ------
    FileNotFoundError
        If there's no checkpoint.
    ValueError
        If it is damaged, or another run's.
    """
    tensors, state = read_checkpoint(folder)
    if state["signature"] != signature:
        raise ValueError(
            f"the checkpoint in {str(folder)!r} belongs to another run: images, labels, "
            f"backbone, strategy or recipe differ; give what it was started with, or start again "
            f"without resume (--resume)"
        )
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimizer": {}, "ema": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(":")
        parts[part][rest] = tensor
    learner.network.load_state_dict(parts["network"])
    _restore_optimizer(learner.optimizer, parts["optimizer"], state["optimizer"])
    if learner.ema is not None:
        learner.ema.module.load_state_dict(parts["ema"])
    learner.scaler.load_state_dict(state["scaler"])
    names = ("epochs", "epoch", "step", "loss_sum", "seconds", "best_epoch")
    return RunState(
        **{name: state[name] for name in names},
        most_steps=state.get("most_steps"),  # earlier checkpoints don't have it
        history=[
            {k: math.nan if v is None else v for k, v in line.items()} for line in state["history"]
        ],
        best=parts["best"],
    )


def warn_of_checkpoint(folder: Path) -> None:
    """Warn if a new run replaces the checkpoint of an interrupted one."""
    if (folder / CHECKPOINT).is_file():
        logger.warning(
            "%s holds an interrupted run's checkpoint, which is replaced; resume=True (--resume) "
            "would go on from it",
            folder,
        )


def read_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a folder's checkpoint.

    Returns
    -------
    tensors : dict of str to Tensor
        On the CPU.
    state : dict
        Everything else.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        raise FileNotFoundError(
            f"{str(folder)!r} holds no checkpoint to go on from; start without resume (--resume)"
        )
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} is damaged ({error}); start again without resume (--resume)"
        ) from error
    assert isinstance(state, dict)
    return tensors, state


def _write_checkpoint(
    folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]
) -> None:
    path = folder / CHECKPOINT
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    try:
        write_whole(path, [save(plain, {"state": json.dumps(state)})])
    except OSError as error:
        kept = f"the last good one is {str(path)!r}" if path.is_file() else "there is none yet"
        raise TrainingStopped(
            f"the checkpoint of epoch {state.get('epoch')} can't be written to {str(folder)!r} "
            f"({(error.strerror or str(error)).partition(';')[0]}); {kept}: make room and go on "
            f"with resume=True (--resume)"
        ) from error


def _flat_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as named tensors and plain values."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            kept: dict[str, Any] = tensors if isinstance(value, Tensor) else plain
            kept[f"{index}.{name}"] = value
    return tensors, plain


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
) -> None:
    """Inverse of `_flat_optimizer`; the groups are those of the same settings."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **plain}.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
