"""Fold batch norms into convolutions, in copies of a network that share its weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ["REFUSALS", "folded", "relative_error", "shallow_copy"]

# Relative tolerance, ten times the rounding of float32 after a hundred layers.
_TOLERANCE = 1e-5

REFUSALS = (RuntimeError, AttributeError, TypeError)
"""What a changed network may raise: because something else used a layer that was replaced, or
because this processor, or another release of PyTorch, doesn't have an operator."""

Run = Callable[[nn.Module], Iterable[Tensor]]


def shallow_copy(network: nn.Module) -> nn.Module:
    """Copy a network's modules, hooks and states, but not its parameters and buffers."""
    shared = [*network.parameters(), *network.buffers()]
    return copy.deepcopy(network, {id(tensor): tensor for tensor in shared})


def folded(network: nn.Module, run: Run) -> nn.Module:
    """Fold every batch norm that follows a convolution into that convolution.

    Which norm follows which convolution is seen in a pass, not read from names. The result
    is kept only if it gives the network's numbers.

    Parameters
    ----------
    network : nn.Module
        In eval mode, on the CPU, float32; stays as it is.
    run : callable
        Passes an image through a network given to it and returns all outputs.

    Returns
    -------
    nn.Module
        A folded copy that shares all other weights, or `network` itself.
    """
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return network
    expected = [output.clone() for output in run(network)]
    changed = shallow_copy(network)
    pairs = _pairs(changed, run)
    if not pairs:
        return network
    for convolution, norm in pairs:
        _fold(convolution, norm)
    gone = {norm for _, norm in pairs}
    for module in changed.modules():
        for name, child in list(module.named_children()):
            if child in gone:
                # timm's norms hold their activation.
                setattr(module, name, getattr(child, "act", None) or nn.Identity())
    try:
        found = list(run(changed))
    except REFUSALS:  # something else used the norm
        return network
    is_same = all(relative_error(f, e) <= _TOLERANCE for f, e in zip(found, expected, strict=True))
    return changed if is_same else network


def _pairs(network: nn.Module, run: Run) -> list[tuple[nn.Conv2d, _BatchNorm]]:
    """Pairs of a convolution and the norm that takes its output, each used only once."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    calls: dict[nn.Module, int] = {}
    pairs: list[tuple[nn.Conv2d, _BatchNorm]] = []

    def after(module: nn.Module, inputs: Any, output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        calls[module] = calls.get(module, 0) + 1
        outputs[id(output)] = (module, output)  # held, or its id may be given to another

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(module, _BatchNorm)
        calls[module] = calls.get(module, 0) + 1
        source = outputs.get(id(inputs[0]))
        if source is not None and module.running_mean is not None:
            pairs.append((source[0], module))

    handles = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(after))
        elif isinstance(module, _BatchNorm):
            handles.append(module.register_forward_pre_hook(before))
    try:
        list(run(network))
    finally:
        for handle in handles:
            handle.remove()
    return [(c, n) for c, n in pairs if calls[c] == 1 and calls[n] == 1]


def _fold(convolution: nn.Conv2d, norm: _BatchNorm) -> None:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    weight, bias = fuse_conv_bn_weights(
        convolution.weight.double(),
        None if convolution.bias is None else convolution.bias.double(),
        mean.double(),
        variance.double(),
        norm.eps,
        None if norm.weight is None else norm.weight.double(),
        None if norm.bias is None else norm.bias.double(),
    )
    convolution.weight = nn.Parameter(weight.float(), requires_grad=False)
    convolution.bias = nn.Parameter(bias.float(), requires_grad=False)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of the expected values; infinite for NaN."""
    if found.shape != expected.shape:
        return float("inf")
    expected = expected.float()
    error = float((found.float() - expected).norm() / expected.norm().clamp(min=1e-12))
    return error if error == error else float("inf")  # NaN agrees with nothing
