"""Cutting a network above one of its stages, so that it goes on from that stage's maps."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.maps import LayerInfo

__all__ = ["cut_above", "stage_below"]

TOLERANCE = 1e-4
"""Largest relative difference between the whole network and its upper part on cached maps."""


class Passed(nn.Module):
    """In the place of a module that ran before the cut: hands its input on."""

    def forward(self, inputs: Any, *args: Any, **options: Any) -> Any:
        """Return the first argument."""
        return inputs


def stage_below(layers: dict[str, LayerInfo], n_stages: int, name: str) -> str:
    """Name of the stage whose maps are kept when the last stages are trained.

    Parameters
    ----------
    layers : dict of str to LayerInfo
        A backbone's layers.
    n_stages : int
        How many are trained.
    name : str
        The backbone's name, for the message.

    Raises
    ------
    ValueError
        If it has no such stage.

    Examples
    --------
    >>> stages = {f"stage{i}": LayerInfo(8, 2 ** (i + 1)) for i in range(5)}
    >>> stage_below(stages, 2, "resnet18")
    'stage2'
    """
    stages = [layer for layer in layers if layer.startswith("stage")]
    if not stages:
        raise ValueError(
            f"strategy 'last-{n_stages}-stages' needs a network with stages, and {name!r} has "
            f"none; choose 'lp-ft', 'norm-only' or 'lora'"
        )
    if n_stages >= len(stages):
        raise ValueError(
            f"strategy 'last-{n_stages}-stages' leaves no stage of {name!r} to be cached: it has "
            f"{len(stages)}; choose 'last-{len(stages) - 1}-stages' at most, or 'lp-ft'"
        )
    return stages[-1 - n_stages]


def cut_above(body: Any, stage: str, images: Tensor, name: str) -> Tensor:
    """Make a network take the maps of one of its stages instead of images.

    Everything that ran up to the stage hands on its input. That the upper part gives what the
    whole gave is computed, not believed.

    Parameters
    ----------
    body : FullNetwork
        From a backbone; changed in place. Its names stay.
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
            setattr(network.get_submodule(parent), child, Passed())
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
