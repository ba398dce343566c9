"""Changes to a network that is trained: cut above a stage, or saving memory.

Both know how timm's networks are built, and change the network that a `Backbone` holds.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["checkpoint_activations", "cut_above"]

TOLERANCE = 1e-4
"""Largest relative difference between the whole network and its upper part on cached maps."""


class _PassThrough(nn.Module):
    """Replaces a module that ran before the cut, and returns its input."""

    def forward(self, inputs: Any, *args: Any, **options: Any) -> Any:
        """Return the first argument."""
        return inputs


def cut_above(body: Any, stage: str, images: Tensor, name: str) -> Tensor:
    """Make a network take the maps of one of its stages instead of images.

    Every module that ran before the stage's maps were there now returns its input. Whether the
    upper part gives what the whole network gave is computed on an example.

    Parameters
    ----------
    body : nn.Module
        A backbone's network; changed in place. The names of its parameters stay.
    stage : str
        ``stageN``.
    images : Tensor
        Normalised, ``(B, 3, H, W)``: an example.
    name : str
        The backbone's name, for the message.

    Returns
    -------
    Tensor
        The example's maps, as the body takes them now.

    Raises
    ------
    ValueError
        If the network can't be cut there.
    """
    body.eval()
    with torch.no_grad():
        whole = body(images, {stage, "pre_logits"})
        maps: Tensor = whole.maps[stage].clone()
        expected = whole.pre_logits
        network = getattr(body, "network", None)
        infos = getattr(network, "feature_info", None)
        refusal = ValueError(
            f"{name!r} can't be cut above {stage!r}: its upper part doesn't give the whole "
            f"network's features from that stage's maps; choose 'lp-ft', 'norm-only' or 'lora'"
        )
        if network is None or infos is None:
            raise refusal
        module = str(infos[int(stage.removeprefix("stage"))]["module"])
        for path in _run_before(body, network, module, images):
            parent, _, child = path.rpartition(".")
            setattr(network.get_submodule(parent), child, _PassThrough())
        if body.is_nhwc:
            maps = maps.permute(0, 2, 3, 1)
        try:
            given = body(maps, {"pre_logits"})
            error = (given.pre_logits - expected).norm() / expected.norm().clamp(min=1e-12)
        except (RuntimeError, ValueError, AssertionError, AttributeError, IndexError) as failed:
            raise refusal from failed
        if not error <= TOLERANCE:
            raise refusal
    return maps


def _run_before(body: Any, network: nn.Module, module: str, images: Tensor) -> list[str]:
    """Paths of the modules up to the stage's, the highest of each branch only."""
    order: list[str] = []
    with contextlib.ExitStack() as stack:
        for path, child in network.named_modules():
            if path:
                hook = child.register_forward_pre_hook(lambda *_, path=path: order.append(path))
                stack.callback(hook.remove)
        body(images, {"pre_logits"})
    before = order[: order.index(module) + 1]
    parts = module.split(".")
    parents = [".".join(parts[:i]) for i in range(len(parts))]
    ancestors = {".".join(parts[: i + 1]) for i in range(len(parts) - 1)}
    siblings = (p for p in before if p.rpartition(".")[0] in parents and p not in ancestors)
    return list(dict.fromkeys(siblings))


def checkpoint_activations(body: nn.Module, name: str) -> None:
    """Save memory in training by computing activations again in the backward pass.

    Parameters
    ----------
    body : nn.Module
        A backbone's network; changed in place.
    name : str
        The backbone's name, for the message.

    Raises
    ------
    ValueError
        If the network can't do so.
    """
    network: Any = getattr(body, "network", None)
    if not hasattr(network, "set_grad_checkpointing"):
        raise ValueError(f"{name!r} has no gradient checkpointing; leave checkpointing out")
    try:
        network.set_grad_checkpointing(True)
    except AssertionError as error:
        raise ValueError(
            f"{name!r} has no gradient checkpointing ({error}); leave checkpointing out"
        ) from error
