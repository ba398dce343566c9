"""Checkpoints: one safetensors file that exists whole or not at all, and runs no code."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from transferkit.files import write_whole

__all__ = [
    "CHECKPOINT",
    "TrainingStopped",
    "flat_optimizer",
    "read_checkpoint",
    "restore_optimizer",
    "warn_of_checkpoint",
    "write_checkpoint",
]

CHECKPOINT = "checkpoint.safetensors"

logger = logging.getLogger(__name__)


class TrainingStopped(RuntimeError):
    """Training can't go on; the message says why, and what is kept."""


def write_checkpoint(folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a checkpoint in one step; the one before stands until then.

    Parameters
    ----------
    folder : Path
        Where the file is.
    tensors : mapping of str to Tensor
        Weights and the optimizer's moments.
    state : mapping
        Everything else, as JSON holds it.

    Raises
    ------
    TrainingStopped
        If the disk is full or the folder can't be written to.
    """
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


def warn_of_checkpoint(folder: Path) -> None:
    """Say so where a new run replaces an interrupted run's checkpoint."""
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


def flat_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], Any]:
    """An optimizer's state as named tensors and plain values."""
    state = optimizer.state_dict()
    tensors, plain = {}, {}
    for index, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                plain[f"{index}.{name}"] = value
    return tensors, plain


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
) -> None:
    """Inverse of `flat_optimizer`; the groups are those of the same recipe."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **plain}.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
