"""Strategies by name: which parameters are trained, from which head, and on what.

A strategy is a function ``tune_NAME(body, recipe)`` in this file, which says what of a network
is trained: adding one adds its name. ``last-N-stages`` trains the last N stages on cached
activations of the stage below.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transferkit.registry import unknown

if TYPE_CHECKING:
    from torch import nn

    from transferkit.finetune.recipe import Recipe

__all__ = ["Strategy", "choose_parameters", "parse_strategy", "strategy_names"]


@dataclass(frozen=True)
class Strategy:
    """A strategy, by its name.

    Parameters
    ----------
    name : str
        As the user writes it.
    n_stages : int, optional
        How many stages are trained, on cached activations; None for the whole network.
    starts_from_probe : bool, default=True
        Whether the head is a linear probe's before the first step.
    learning_rate : float
        Default of the recipe.
    layer_decay : float
        Default of the recipe.
    epoch_factor : int, default=1
        How many times as many epochs it takes by default.
    keeps_statistics : bool, default=True
        Whether batch norm keeps its means and variances by default, which the probe's head was
        fitted with.
    """

    name: str
    n_stages: int | None = None
    starts_from_probe: bool = True
    learning_rate: float = 5e-4
    layer_decay: float = 0.85
    epoch_factor: int = 1
    keeps_statistics: bool = True

    @property
    def function(self) -> Any:
        """What chooses the trained parameters."""
        name = "last_stages" if self.n_stages else self.name.replace("-", "_")
        return globals()[f"tune_{name}"]


_KNOWN = {
    # Kumar, Raghunathan, Jones, Ma, Liang (2022), "Fine-tuning can distort pretrained features
    # and underperform out-of-distribution": the head of a linear probe, then everything.
    "lp-ft": Strategy("lp-ft"),
    "full": Strategy("full", starts_from_probe=False, keeps_statistics=False),
    "norm-only": Strategy("norm-only", learning_rate=3e-3, layer_decay=1.0),
    "bias-only": Strategy("bias-only", learning_rate=3e-3, layer_decay=1.0),
    # Hu et al. (2022), "LoRA: low-rank adaptation of large language models".
    "lora": Strategy("lora", learning_rate=2e-3, layer_decay=1.0),
}


def strategy_names() -> list[str]:
    """Names of the strategies; N stands for a number.

    Examples
    --------
    >>> strategy_names()[0]
    'lp-ft'
    """
    return [*_KNOWN, "last-N-stages"]


def parse_strategy(name: str) -> Strategy:
    """Find a strategy by its name.

    Raises
    ------
    ValueError
        If there is none of that name.

    Examples
    --------
    >>> parse_strategy("last-2-stages").n_stages
    2
    """
    match = re.fullmatch(r"last-(\d+)-stages?", name)
    if match and int(match[1]) > 0:
        # A cached epoch costs little, and the upper stages alone need no gentle rates.
        return Strategy(
            name,
            n_stages=int(match[1]),
            learning_rate=1e-3,
            layer_decay=1.0,
            epoch_factor=2,
        )
    if name not in _KNOWN:
        raise unknown("strategy", name, strategy_names())
    return _KNOWN[name]


def choose_parameters(body: nn.Module, strategy: Strategy, recipe: Recipe) -> None:
    """Let exactly the parameters learn that the strategy trains.

    Parameters
    ----------
    body : nn.Module
        A backbone's network; for LoRA its layers are replaced.
    strategy : Strategy
        What is trained.
    recipe : Recipe
        LoRA's rank.

    Raises
    ------
    ValueError
        If the network has none of them.
    """
    body.requires_grad_(False)
    strategy.function(body, recipe)
    if not any(parameter.requires_grad for parameter in body.parameters()):
        raise ValueError(
            f"the network has nothing that strategy {strategy.name!r} trains; choose another: "
            f"{', '.join(strategy_names())}"
        )


def tune_full(body: nn.Module, recipe: Recipe) -> None:
    """Train everything, from a fresh head."""
    body.requires_grad_(True)


def tune_lp_ft(body: nn.Module, recipe: Recipe) -> None:
    """Train everything, from a linear probe's head."""
    body.requires_grad_(True)


def tune_last_stages(body: nn.Module, recipe: Recipe) -> None:
    """Train everything that stands above the cached stage."""
    body.requires_grad_(True)


def tune_norm_only(body: nn.Module, recipe: Recipe) -> None:
    """Train the scales and shifts of the normalisation layers."""
    from transferkit.backbones import is_norm  # brings torch, which a strategy's name doesn't need

    for module in body.modules():
        if is_norm(module):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(True)


def tune_bias_only(body: nn.Module, recipe: Recipe) -> None:
    """Train the biases (Zaken et al. (2022), "BitFit"), those of the norms included."""
    for name, parameter in body.named_parameters():
        if name.rpartition(".")[2] == "bias":
            parameter.requires_grad_(True)


def tune_lora(body: nn.Module, recipe: Recipe) -> None:
    """Train low-rank additions to matrices and 1 × 1 filters, through peft."""
    from transferkit.finetune.lora import add_adapters

    add_adapters(body, recipe.lora_rank)
