"""Read the tensors of a weights file under the network's own names.

People hand on weights as safetensors, as a plain ``torch.save`` of a state dict, or as what a
training script kept: the state dict under a name of its own, beside the optimizer, an EMA copy
and the arguments, its tensors' names behind the prefix of a wrapper (``module.``, ``model.``).
Only tensors are read from any of them; nothing that is stored can run code.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

__all__ = ["is_plain", "n_classes_in", "read_tensors", "tensor_shapes"]

# Where training scripts keep the state dict, the one to take first: timm's order, then others'.
_SECTIONS = (
    *("state_dict_ema", "model_ema", "state_dict", "model"),
    *("model_state_dict", "model_state", "net", "network", "weights", "params_ema", "params"),
)


def read_tensors(path: Path, cfg: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Read the tensors of a weights file, and remove the prefixes of wrappers from their names.

    Parameters
    ----------
    path : Path
        A safetensors file, or one that `torch.save` wrote.
    cfg : mapping
        timm's pretrained configuration, whose ``first_conv`` tells where the network begins.

    Raises
    ------
    ValueError
        If the file holds no tensors, several networks, or something that could run code.
    """
    tensors = load_file(path) if _is_safetensors(path) else _state_dict(path)
    prefix = _prefix(path, tensors, cfg)
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a weights file, as they are written; values aren't read if possible."""
    if _is_safetensors(path):
        return {
            name: tuple(entry["shape"])
            for name, entry in _safetensors_header(path).items()
            if name != "__metadata__"
        }
    return {name: tuple(tensor.shape) for name, tensor in _state_dict(path).items()}


def is_plain(path: Path, cfg: Mapping[str, Any]) -> bool:
    """Whether timm reads a file as it is: safetensors without prefixes, or another library's."""
    if path.suffix == ".npz":
        return True
    return path.suffix == ".safetensors" and not _prefix(path, tensor_shapes(path), cfg)


def n_classes_in(path: Path, cfg: Mapping[str, Any]) -> int:
    """Number of classes that a weights file's classifier has; 0 if it has none.

    A file of somebody's own training rarely has the architecture's 1000 classes.

    Parameters
    ----------
    path : Path
        The weights file.
    cfg : mapping
        timm's pretrained configuration: the classifier's name, and the architecture's number,
        which stands for files of other libraries.
    """
    own = int(cfg.get("num_classes", 1000))
    classifier = _first(cfg.get("classifier"))
    if path.suffix == ".npz" or not classifier:
        return own
    shapes = tensor_shapes(path)
    prefix = _prefix(path, shapes, cfg)
    for suffix in (".weight", ".bias"):
        if shape := shapes.get(f"{prefix}{classifier}{suffix}"):
            # The published file of some architectures has one class more, which timm drops.
            offset = int(cfg.get("label_offset") or 0)
            return shape[0] - offset if shape[0] == own + offset else shape[0]
    return 0


def _first(names: Any) -> str:
    """First name, where timm gives one name or several."""
    if isinstance(names, list | tuple):
        names = names[0] if names else ""
    return names if isinstance(names, str) else ""


def _prefix(path: Path, names: Iterable[str], cfg: Mapping[str, Any]) -> str:
    """What stands before every name of the network: before the name of its first layer."""
    names = list(names)
    ending = f"{_first(cfg.get('first_conv'))}.weight"
    found = {n[: -len(ending)] for n in names if n == ending or n.endswith(f".{ending}")}
    # Inner layers may bear the first one's name too; they stand behind a longer prefix.
    outer = sorted(p for p in found if not any(p != q and p.startswith(q) for q in found))
    if len(outer) > 1 and sum(n.startswith(tuple(outer)) for n in names) > 0.9 * len(names):
        raise ValueError(
            f"weights file {str(path)!r} holds several networks ({', '.join(outer)}); save the "
            f"tensors of one of them to a file of their own"
        )
    if len(outer) == 1:
        return outer[0]
    # Names of another architecture, or of a library, which timm translates: only wrappers that
    # bear torch's own names are known.
    prefix = ""
    for wrapper in ("_orig_mod.", "module.", "_orig_mod."):
        if names and all(n.startswith(prefix + wrapper) for n in names):
            prefix += wrapper
    return prefix


# ---- files --------------------------------------------------------------------------


def _is_safetensors(path: Path) -> bool:
    return path.suffix.lower() == ".safetensors"


def _state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Find the state dict in a file of torch's, among the usual places of training scripts."""
    content = _load(path)
    for section in (None, *_SECTIONS):
        part = content if section is None else content.get(section)
        if tensors := _tensors_of(part):
            return tensors
    known = {name: _tensors_of(part) for name, part in content.items()}
    others = [name for name, tensors in known.items() if tensors]
    if len(others) == 1:
        return known[others[0]]
    raise ValueError(
        f"weights file {str(path)!r} holds {', '.join(map(repr, list(content)[:8])) or 'nothing'}, "
        f"which isn't the state dict of one network; save model.state_dict() to a file of its own"
    )


def _tensors_of(part: Any) -> dict[str, torch.Tensor]:
    """Tensors of a state dict; empty if the value isn't one."""
    if not isinstance(part, Mapping):
        return {}
    found = {str(n): t for n, t in part.items() if isinstance(t, torch.Tensor)}
    # A training script's file may hold a loose tensor too, such as a random generator's state.
    is_network = sum("." in name for name in found) * 2 > len(found)
    return found if is_network else {}


def _load(path: Path) -> Mapping[str, Any]:
    """Load a file of `torch.save`. It may hold tensors, numbers and texts only."""
    with torch.serialization.safe_globals(_harmless()):
        try:
            content = _torch_load(path)
        except Exception as error:  # unpickling damaged bytes raises whatever it meets
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            if "weights_only" in reason.lower() or "weights only" in reason.lower():
                raise ValueError(
                    f"weights file {str(path)!r} holds a pickle that could run code and was not "
                    f"loaded; give the weights as .safetensors, or a PyTorch file of tensors only"
                ) from error
            raise ValueError(
                f"weights file {str(path)!r} can't be read ({reason[:160]}); give a .safetensors "
                f"file, or one that torch.save wrote"
            ) from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f"weights file {str(path)!r} holds a {type(content).__name__}, not tensors with "
            f"their names; save model.state_dict()"
        )
    return content


def _torch_load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
    return torch.load(path, map_location="cpu", weights_only=True)  # the format before torch 1.6


def _harmless() -> list[Any]:
    """Harmless types that training scripts save beside tensors: arguments, paths, numbers."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefd"}
    paths = (pathlib.PosixPath, pathlib.PurePosixPath, pathlib.WindowsPath, pathlib.PureWindowsPath)
    return [
        *(argparse.Namespace, np.dtype, *kinds, *paths),
        *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    ]


def _safetensors_header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 0 < length <= path.stat().st_size - 8:
            raise ValueError(f"{str(path)!r} is not a safetensors file; its header is damaged")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise ValueError(f"{str(path)!r} is not a safetensors file ({error})") from error
    if not isinstance(header, dict):
        raise ValueError(f"{str(path)!r} is not a safetensors file; its header is no table")
    return header
