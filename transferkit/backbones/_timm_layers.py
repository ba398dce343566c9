"""Recognise timm's own layers by what they compute.

timm renames and moves its layers now and then. A name that isn't there any more is left out
here, so that nothing fails but the recognition of that one layer.
"""

from __future__ import annotations

import timm.layers
from torch import nn

__all__ = ["activation_of", "is_batch_norm", "is_norm"]

_ACTIVATIONS: dict[str, tuple[type[nn.Module], ...]] = {
    "relu": (nn.ReLU,),
    "relu6": (nn.ReLU6,),
    "silu": (nn.SiLU,),
    "hard_swish": (nn.Hardswish,),
    "gelu": (nn.GELU,),
    "gelu_tanh": (),
    "sigmoid": (nn.Sigmoid,),
    "hard_sigmoid": (nn.Hardsigmoid,),
}
_TIMM_ACTIVATIONS = {
    "silu": ("Swish",),
    "hard_swish": ("HardSwish",),
    "gelu": ("GELU",),
    "gelu_tanh": ("GELUTanh",),
    "sigmoid": ("Sigmoid",),
    "hard_sigmoid": ("HardSigmoid",),
}
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_NORMS = (
    *(nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
    *_BATCH_NORMS,
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
# timm's norms that don't inherit from torch's. All others inherit from these or from torch's.
_TIMM_NORMS = (
    *("RmsNorm", "RmsNorm2d", "RmsNormAct", "RmsNormAct2d", "SimpleNorm", "SimpleNorm2d"),
    *("FrozenBatchNormAct2d", "FilterResponseNormAct2d", "FilterResponseNormTlu2d", "InplaceAbn"),
    *("EvoNorm2dB0", "EvoNorm2dB1", "EvoNorm2dB2", "EvoNorm2dS0", "EvoNorm2dS1", "EvoNorm2dS2"),
)


def _of_timm(names: tuple[str, ...]) -> tuple[type[nn.Module], ...]:
    found = (getattr(timm.layers, name, None) for name in names)
    return tuple(kind for kind in found if isinstance(kind, type))


_KINDS = {
    kind: name
    for name, own in _ACTIVATIONS.items()
    for kind in (*own, *_of_timm(_TIMM_ACTIVATIONS.get(name, ())))
}
_NORM_KINDS = (*_NORMS, *_of_timm(_TIMM_NORMS))


def activation_of(module: nn.Module) -> str | None:
    """Name of the activation that exactly this class computes; None for any other module.

    Parameters
    ----------
    module : nn.Module
        A layer of a network.

    Returns
    -------
    str or None
        ``relu``, ``relu6``, ``silu``, ``hard_swish``, ``gelu``, ``gelu_tanh``, ``sigmoid`` or
        ``hard_sigmoid``. A class that inherits from one of these may compute something else,
        and is none.

    Examples
    --------
    >>> activation_of(nn.GELU(approximate="tanh")), activation_of(nn.Linear(2, 2))
    ('gelu_tanh', None)
    """
    if type(module) is nn.GELU and module.approximate == "tanh":
        return "gelu_tanh"
    return _KINDS.get(type(module))


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation layer, torch's or timm's.

    Examples
    --------
    >>> is_norm(nn.LayerNorm(3)), is_norm(nn.Linear(3, 3))
    (True, False)
    """
    return isinstance(module, _NORM_KINDS)


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module is a batch norm, which keeps means and variances of what it has seen.

    Examples
    --------
    >>> is_batch_norm(nn.BatchNorm2d(3)), is_batch_norm(nn.LayerNorm(3))
    (True, False)
    """
    return isinstance(module, _BATCH_NORMS)
