"""Heads of dense tasks: tensors in a safetensors file, and what makes the head as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as deserialized
from safetensors.numpy import save as serialized

__all__ = ["ModuleHead", "load_tensors", "save_tensors"]


@dataclass(frozen=True, eq=False)
class ModuleHead:
    """A trained head of a dense task, as its files hold it.

    Parameters
    ----------
    kind : str
        The head's name, for the card.
    arguments : mapping
        What makes the head again, as JSON takes it.
    tensors : mapping of str to ndarray
        What it has learnt.
    """

    kind: str
    arguments: Mapping[str, Any]
    tensors: Mapping[str, np.ndarray]


def save_tensors(path: Path, head: ModuleHead) -> None:
    """Write what a head has learnt."""
    path.write_bytes(serialized({n: np.ascontiguousarray(t) for n, t in head.tensors.items()}))


def load_tensors(file: BufferedReader) -> dict[str, np.ndarray]:
    """Read what a head has learnt from an open file.

    Raises
    ------
    ValueError
        If it can't be read, or a value isn't finite.
    """
    try:
        tensors = {name: np.array(value) for name, value in deserialized(file.read()).items()}
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ValueError(
            f"{str(file.name)!r} is damaged ({error}); copy the model again"
        ) from error
    for name, value in tensors.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError(
                f"{str(file.name)!r} holds values that aren't finite ({name!r}); train the model "
                "again"
            )
    return tensors
