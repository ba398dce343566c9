"""Fuse convolutions and linear layers with their activations, for oneDNN on a CPU.

PyTorch brings the weights of a layer into the kernel's layout at every call, and its
activation reads and writes the whole map again. Here the layout is made once, and the kernel
applies the activation before it writes: on small batches, and in bf16 most of all, that is
where the time goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.backbones import activation_of
from transferkit.forward.folding import REFUSALS, relative_error, shallow_copy

__all__ = ["Fusions", "find_fusions", "fuse"]

_TOLERANCE = 1e-5
# Layouts are chosen for this number of images, and work for any other.
_BATCH = 8

Activation = tuple[str, list[float], str]
Run = Callable[[nn.Module], Iterable[Tensor]]

_NONE: Activation = ("none", [], "")
# oneDNN's names of the activations that it applies.
_ACTIVATIONS: dict[str, Activation] = {
    "relu": ("relu", [], ""),
    "relu6": ("hardtanh", [0.0, 6.0], ""),
    "silu": ("swish", [], ""),
    "hard_swish": ("hardswish", [], ""),
    "gelu": ("gelu", [], "none"),
    "gelu_tanh": ("gelu", [], "tanh"),
    "sigmoid": ("sigmoid", [], ""),
    "hard_sigmoid": ("hardsigmoid", [], ""),
}


@dataclass(frozen=True)
class Fusions:
    """The layers to replace, by their names in the network.

    Parameters
    ----------
    shapes : dict of str to tuple of int
        Layers, with the shape of their input.
    activations : dict of str to str, default={}
        Of some of them the activation that goes into the layer.
    """

    shapes: dict[str, tuple[int, ...]]
    activations: dict[str, str] = field(default_factory=dict)


def find_fusions(network: nn.Module, run: Run) -> Fusions | None:
    """Find the layers that can be replaced, by one pass; None if there are none.

    They are returned only if the network with all of them replaced gives the same numbers for
    an image.

    Parameters
    ----------
    network : nn.Module
        In eval mode, on the CPU, float32; stays as it is.
    run : callable
        Passes an image through a network given to it, without gradients but not in
        inference mode, and returns all outputs.
    """
    if not _is_there():
        return None
    traced, expected = _trace(network, run)
    for fusions in (traced, Fusions(traced.shapes)):  # at worst without the activations
        if not fusions.shapes:
            return None
        try:
            outputs = list(run(fuse(network, fusions)))
        except REFUSALS:
            continue
        errors = [relative_error(f, e) for f, e in zip(outputs, expected, strict=True)]
        if all(error <= _TOLERANCE for error in errors):
            return fusions
    return None


def fuse(network: nn.Module, fusions: Fusions) -> nn.Module:
    """Copy a network and replace layers. The other layers share their weights with the original."""
    changed = shallow_copy(network)
    modules = dict(changed.named_modules())
    replaced: dict[nn.Module, nn.Module] = {}
    for name, shape in fusions.shapes.items():
        activation = _NONE
        if name in fusions.activations:
            gone = modules[fusions.activations[name]]
            activation = _ACTIVATIONS[activation_of(gone) or ""]
            replaced[gone] = nn.Identity()
        layer = modules[name]
        kind = _Convolution if isinstance(layer, nn.Conv2d) else _Linear
        replaced[layer] = kind(layer, shape, activation)
    for module in modules.values():
        for name, child in list(module.named_children()):
            if child in replaced:
                setattr(module, name, replaced[child])
    return changed


def _is_there() -> bool:
    """Whether PyTorch has these operators of its compiler, which a release may rename."""
    names = (
        *("_convolution_pointwise", "_linear_pointwise"),
        *("_reorder_convolution_weight", "_reorder_linear_weight"),
    )
    is_enabled = bool(torch.backends.mkldnn.enabled)
    return is_enabled and all(hasattr(torch.ops.mkldnn, name) for name in names)


def _trace(network: nn.Module, run: Run) -> tuple[Fusions, list[Tensor]]:
    """Run a network once, and note its layers, the activations behind them, and its outputs.

    An activation belongs to a layer if its input is the layer's output, not written to since.
    """
    names = {module: name for name, module in network.named_modules()}
    outputs: dict[int, tuple[nn.Module, Tensor, int]] = {}
    calls: dict[nn.Module, int] = {}
    shapes: dict[nn.Module, tuple[int, ...]] = {}
    pairs: dict[nn.Module, nn.Module] = {}

    def after(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        calls[module] = calls.get(module, 0) + 1
        if not inputs:  # given by its name
            return
        shapes[module] = tuple(inputs[0].shape)
        # The tensor is held, because its id could otherwise be given to another.
        outputs[id(output)] = (module, output, output._version)

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        calls[module] = calls.get(module, 0) + 1
        known = outputs.get(id(inputs[0])) if inputs else None
        if known is not None and known[1]._version == known[2]:
            pairs[known[0]] = module

    handles = []
    for module in names:
        if module._forward_hooks or module._forward_pre_hooks:
            continue  # they'd be lost with it
        if _is_replaceable(module):
            handles.append(module.register_forward_hook(after))
        elif activation_of(module) is not None:
            handles.append(module.register_forward_pre_hook(before))
    try:
        outputs_before = [output.clone() for output in run(network)]
    finally:
        for handle in handles:
            handle.remove()
    once = {m for m, n in calls.items() if n == 1}
    fusions = Fusions(
        {names[m]: shape for m, shape in shapes.items()},
        {names[m]: names[a] for m, a in pairs.items() if m in once and a in once},
    )
    return fusions, outputs_before


def _is_replaceable(module: nn.Module) -> bool:
    if type(module) is nn.Linear:
        return True
    # Padding that is given as a word, or isn't zeros, is computed outside the kernel.
    is_plain = type(module) is nn.Conv2d and module.padding_mode == "zeros"
    return is_plain and not isinstance(module.padding, str)


class _Convolution(nn.Module):
    packed: Tensor

    def __init__(self, layer: nn.Conv2d, shape: tuple[int, ...], activation: Activation) -> None:
        super().__init__()
        self.where = (layer.padding, layer.stride, layer.dilation, layer.groups)
        self.activation = activation
        packed = torch.ops.mkldnn._reorder_convolution_weight(
            layer.weight.detach(), *self.where, [_BATCH, *shape[1:]]
        )
        self.register_buffer("packed", packed)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())

    def forward(self, images: Tensor) -> Tensor:
        found = torch.ops.mkldnn._convolution_pointwise(
            images, self.packed, self.bias, *self.where, *self.activation
        )
        assert isinstance(found, Tensor)
        return found


class _Linear(nn.Module):
    packed: Tensor

    def __init__(self, layer: nn.Linear, shape: tuple[int, ...], activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        n_rows = _BATCH * torch.Size(shape[:-1]).numel()
        self.register_buffer(
            "packed", torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), n_rows)
        )
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())

    def forward(self, rows: Tensor) -> Tensor:
        found = torch.ops.mkldnn._linear_pointwise(rows, self.packed, self.bias, *self.activation)
        assert isinstance(found, Tensor)
        return found
