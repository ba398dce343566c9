"""Optimizer, learning-rate schedule and running mean of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from transferkit.registry import unknown
from transferkit.training.settings import TrainingSettings

__all__ = ["create_optimizer", "parameter_groups", "rate_at", "running_mean", "set_rate"]


def parameter_groups(
    body: nn.Module, head: nn.Module, settings: TrainingSettings
) -> list[dict[str, Any]]:
    """Sort a network's parameters into groups of one learning rate and one weight decay.

    Parameters
    ----------
    body : nn.Module
        timm's network, or any other. With a layer decay each of its layers has its own share
        of the learning rate.
    head : nn.Module
        Has the whole of the rate.
    settings : TrainingSettings
        Rates and decays; vectors (norms, biases) don't decay, nor does what the body names by
        its ``no_weight_decay()``.

    Returns
    -------
    list of dict
        Of what requires a gradient.

    References
    ----------
    Layer-wise decay: Bao, Dong, Piao, Wei (2022), "BEiT: BERT pre-training of image
    transformers", appendix.
    """
    import timm.optim

    named: Any = body
    no_decay = named.no_weight_decay() if hasattr(body, "no_weight_decay") else ()
    if settings.layer_decay < 1:
        groups = timm.optim.param_groups_layer_decay(
            body,
            settings.weight_decay,
            no_weight_decay_list=no_decay,
            layer_decay=settings.layer_decay,
        )
    else:
        groups = timm.optim.param_groups_weight_decay(
            body, settings.weight_decay, no_weight_decay_list=no_decay
        )
    own = [p for p in head.parameters() if p.requires_grad]
    groups += [
        {"params": [p for p in own if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in own if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def create_optimizer(
    groups: Sequence[dict[str, Any]], settings: TrainingSettings
) -> torch.optim.Optimizer:
    """Create timm's optimizer of some groups of parameters.

    Parameters
    ----------
    groups : sequence of dict
        From `parameter_groups`, or one's own.
    settings : TrainingSettings
        Optimizer, rate and decay.

    Raises
    ------
    ValueError
        If there's no such optimizer, or it needs a package that isn't installed.

    References
    ----------
    Loshchilov and Hutter (2019), "Decoupled weight decay regularization", for AdamW.
    """
    import timm.optim

    name = settings.optimizer
    if name not in timm.optim.list_optimizers():
        raise unknown("optimizer", name, timm.optim.list_optimizers())
    try:
        optimizer = timm.optim.create_optimizer_v2(
            list(groups), opt=name, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
    except (ImportError, AssertionError, ValueError, TypeError) as error:
        raise ValueError(
            f"optimizer {name!r} can't be created ({error}); choose another, such as 'adamw'"
        ) from error
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer


def rate_at(step: int, n_steps: int, settings: TrainingSettings) -> float:
    """Learning rate of a step: a linear warm-up, then half a cosine towards 0.

    Parameters
    ----------
    step : int
        From 0.
    n_steps : int
        All steps of the run.
    settings : TrainingSettings
        Highest rate, and share of the warm-up.

    References
    ----------
    Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts",
    equation 5, without restarts.

    Examples
    --------
    >>> settings = TrainingSettings(epochs=1, batch_size=1, learning_rate=1.0, warmup=0.1)
    >>> [round(rate_at(step, 100, settings), 2) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    n_warm = round(settings.warmup * n_steps)
    if step < n_warm:
        return settings.learning_rate * (step + 1) / n_warm
    done = (step - n_warm) / max(n_steps - n_warm, 1)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each parameter group, scaled by the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def running_mean(network: nn.Module, settings: TrainingSettings) -> Any:
    """Create timm's running mean of the weights, if the settings ask for one.

    Parameters
    ----------
    network : nn.Module
        Copied.
    settings : TrainingSettings
        The decay, which is approached from below.

    References
    ----------
    Polyak and Juditsky (1992), "Acceleration of stochastic approximation by averaging".
    """
    if not settings.ema:
        return None
    from timm.utils import ModelEmaV3

    return ModelEmaV3(network, decay=settings.ema, use_warmup=True)
