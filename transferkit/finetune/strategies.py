"""Strategies: which parameters are trained, from which head, and on which inputs.

A strategy is a function ``tune_NAME(body, recipe)`` in this file, which says what of a network
is trained: adding one adds its name. ``last-N-stages`` trains the last N stages on cached
activations of the stage below.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from transferkit.finetune.recipe import BodySettings, Strategy
from transferkit.registry import unknown

if TYPE_CHECKING:
    from torch import nn

__all__ = ["choose_parameters", "merge_adapters", "parse_strategy", "strategy_names"]


_KNOWN = {
    # Kumar, Raghunathan, Jones, Ma, Liang (2022), "Fine-tuning can distort pretrained features
    # and underperform out-of-distribution": the head of a linear probe, then everything.
    "lp-ft": Strategy("lp-ft"),
    "full": Strategy("full", starts_from_probe=False, keeps_statistics=False),
    "norm-only": Strategy("norm-only", learning_rate=3e-3, layer_decay=1.0, backbone_rate=1.0),
    "bias-only": Strategy("bias-only", learning_rate=3e-3, layer_decay=1.0, backbone_rate=1.0),
    # Hu et al. (2022), "LoRA: low-rank adaptation of large language models".
    "lora": Strategy("lora", learning_rate=2e-3, layer_decay=1.0, backbone_rate=1.0),
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


def choose_parameters(body: nn.Module, strategy: Strategy, recipe: BodySettings) -> None:
    """Unfreeze the parameters that the strategy trains, and freeze all others.

    Parameters
    ----------
    body : nn.Module
        A backbone's network; for LoRA its layers are replaced.
    strategy : Strategy
        What is trained.
    recipe : BodySettings
        LoRA's rank.

    Raises
    ------
    ValueError
        If the network has none of them.
    """
    body.requires_grad_(False)
    name = "last_stages" if strategy.n_stages else strategy.name.replace("-", "_")
    globals()[f"tune_{name}"](body, recipe)
    if not any(parameter.requires_grad for parameter in body.parameters()):
        raise ValueError(
            f"the network has nothing that strategy {strategy.name!r} trains; choose another: "
            f"{', '.join(strategy_names())}"
        )


def tune_full(body: nn.Module, recipe: BodySettings) -> None:
    """Train everything, from a fresh head."""
    body.requires_grad_(True)


def tune_lp_ft(body: nn.Module, recipe: BodySettings) -> None:
    """Train everything, from a linear probe's head."""
    body.requires_grad_(True)


def tune_last_stages(body: nn.Module, recipe: BodySettings) -> None:
    """Train everything that stands above the cached stage."""
    body.requires_grad_(True)


def tune_norm_only(body: nn.Module, recipe: BodySettings) -> None:
    """Train the scales and shifts of the normalisation layers."""
    from transferkit.backbones import is_norm  # brings torch, which a strategy's name doesn't need

    for module in body.modules():
        if is_norm(module):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(True)


def tune_bias_only(body: nn.Module, recipe: BodySettings) -> None:
    """Train the biases (Zaken et al. (2022), "BitFit"), those of the norms included."""
    for name, parameter in body.named_parameters():
        if name.rpartition(".")[2] == "bias":
            parameter.requires_grad_(True)


def tune_lora(body: nn.Module, recipe: BodySettings) -> None:
    """Train low-rank additions to every matrix and 1 × 1 filter, through peft.

    Raises
    ------
    ValueError
        If peft isn't installed.

    References
    ----------
    Hu et al. (2022), "LoRA: low-rank adaptation of large language models", equation 3, with
    α = 2 · rank.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError(
            "strategy 'lora' needs peft, which isn't installed; run pip install "
            "'transferkit[finetune]', or choose 'norm-only'"
        ) from error
    targets = [name for name, module in body.named_modules() if _is_matrix(module)]
    if targets:
        rank = recipe.lora_rank
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets)
        inject_adapter_in_model(config, body)


def merge_adapters(body: nn.Module) -> None:
    """Merge every adapter into the weights that it adapts, and remove it.

    Parameters
    ----------
    body : nn.Module
        Changed in place; without adapters it stays as it is.
    """
    for name, module in list(body.named_modules()):
        if not (hasattr(module, "merge") and hasattr(module, "get_base_layer")):
            continue
        adapter: Any = module
        adapter.merge()
        parent, _, child = name.rpartition(".")
        setattr(body.get_submodule(parent), child, adapter.get_base_layer())


def _is_matrix(module: nn.Module) -> bool:
    """Whether a module is a linear layer, by its class or because its filters are 1 × 1."""
    from torch import nn

    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)
