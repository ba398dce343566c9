"""LoRA through peft: low-rank additions, merged into the weights afterwards."""

from __future__ import annotations

from torch import nn

__all__ = ["add_adapters", "merge_adapters"]


def _targets(body: nn.Module) -> list[str]:
    return [
        name
        for name, module in body.named_modules()
        if isinstance(module, nn.Linear)
        or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1)
    ]


def add_adapters(body: nn.Module, rank: int) -> None:
    """Put an adapter on every matrix and 1 × 1 filter; only they learn.

    Parameters
    ----------
    body : nn.Module
        Changed in place.
    rank : int
        Of the adapters.

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
    targets = _targets(body)
    if targets:
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets)
        inject_adapter_in_model(config, body)


def merge_adapters(body: nn.Module) -> None:
    """Add every adapter to the weights that it stands on, and take it away.

    Parameters
    ----------
    body : nn.Module
        Changed in place; without adapters it stays as it is.
    """
    for name, module in list(body.named_modules()):
        if not (hasattr(module, "merge") and hasattr(module, "get_base_layer")):
            continue
        module.merge()
        parent, _, child = name.rpartition(".")
        setattr(body.get_submodule(parent), child, module.get_base_layer())
