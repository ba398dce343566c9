"""Optimizer, learning-rate schedule and running mean of the weights."""

from __future__ import annotations

import math
from typing import Any

import torch

from transferkit.finetune.network import TunedNetwork
from transferkit.finetune.recipe import Recipe
from transferkit.registry import unknown

__all__ = ["create_optimizer", "rate_at", "running_mean", "set_rate"]


def create_optimizer(network: TunedNetwork, recipe: Recipe) -> torch.optim.Optimizer:
    """Create timm's optimizer, with its parameter groups for layer-wise learning rates.

    Parameters
    ----------
    network : TunedNetwork
        What requires a gradient is optimized; vectors (norms, biases) don't decay.
    recipe : Recipe
        Optimizer, rates and decays.

    Raises
    ------
    ValueError
        If there's no such optimizer, or it needs a package that isn't installed.

    References
    ----------
    Layer-wise decay: Bao, Dong, Piao, Wei (2022), "BEiT: BERT pre-training of image
    transformers", appendix; Loshchilov and Hutter (2019), "Decoupled weight decay
    regularization", for AdamW.
    """
    import timm.optim

    if recipe.optimizer not in timm.optim.list_optimizers():
        raise unknown("optimizer", recipe.optimizer, timm.optim.list_optimizers())
    body: Any = getattr(network.body, "network", network.body)
    no_decay = body.no_weight_decay() if hasattr(body, "no_weight_decay") else ()
    if recipe.layer_decay < 1:
        groups = timm.optim.param_groups_layer_decay(
            body,
            recipe.weight_decay,
            no_weight_decay_list=no_decay,
            layer_decay=recipe.layer_decay,
        )
    else:
        groups = timm.optim.param_groups_weight_decay(
            body, recipe.weight_decay, no_weight_decay_list=no_decay
        )
    head = network.head
    groups += [
        {"params": [head.weight], "weight_decay": recipe.weight_decay},
        {"params": [head.bias], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    try:
        optimizer = timm.optim.create_optimizer_v2(
            groups, opt=recipe.optimizer, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
    except (ImportError, AssertionError, ValueError, TypeError) as error:
        raise ValueError(
            f"optimizer {recipe.optimizer!r} can't be created ({error}); choose another, such as "
            f"'adamw'"
        ) from error
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer


def rate_at(step: int, n_steps: int, recipe: Recipe) -> float:
    """Learning rate of a step: a straight warm-up, then half a cosine towards 0.

    Parameters
    ----------
    step : int
        From 0.
    n_steps : int
        All steps of the run.
    recipe : Recipe
        Highest rate, and share of the warm-up.

    References
    ----------
    Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts",
    equation 5, without restarts.

    Examples
    --------
    >>> recipe = Recipe(epochs=1, batch_size=1, learning_rate=1.0, warmup=0.1)
    >>> [round(rate_at(step, 100, recipe), 2) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    n_warm = round(recipe.warmup * n_steps)
    if step < n_warm:
        return recipe.learning_rate * (step + 1) / n_warm
    done = (step - n_warm) / max(n_steps - n_warm, 1)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate, of each layer in its share."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def running_mean(network: TunedNetwork, recipe: Recipe) -> Any:
    """Create timm's running mean of the weights, if the recipe has one.

    Parameters
    ----------
    network : TunedNetwork
        Copied.
    recipe : Recipe
        The decay, which is approached from below.

    References
    ----------
    Polyak and Juditsky (1992), "Acceleration of stochastic approximation by averaging".
    """
    if not recipe.ema:
        return None
    from timm.utils import ModelEmaV3

    return ModelEmaV3(network, decay=recipe.ema, use_warmup=True)
