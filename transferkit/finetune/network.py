"""The trained network: a backbone's body and its head in one module."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from transferkit.backbones import (
    build_backbone,
    checkpoint_activations,
    cut_above,
    is_batch_norm,
)
from transferkit.finetune.recipe import BodySettings, Strategy
from transferkit.finetune.strategies import choose_parameters
from transferkit.maps import LayerInfo
from transferkit.spec import BackboneSpec

__all__ = ["BackboneWithHead", "build_network", "stage_below"]

H = TypeVar("H", bound=nn.Module)


class BackboneWithHead(nn.Module, Generic[H]):
    """A backbone's network with a head.

    Parameters
    ----------
    body : nn.Module
        A backbone's network: inputs and layer names → `FeatureMaps`.
    head : nn.Module
        Takes the `FeatureMaps` of those of the body's layers that its ``layers`` names.
    mean, std : tuple of float
        Of the body's images, for pixels in [0, 1].
    stage : str, optional
        The stage whose maps it takes instead of pixels.
    freeze_statistics : bool, default=False
        Whether batch norm keeps its means and variances.
    """

    _mean: Tensor
    _std: Tensor

    def __init__(
        self,
        body: nn.Module,
        head: H,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        stage: str | None = None,
        freeze_statistics: bool = False,
    ) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.stage = stage
        self.freeze_statistics = freeze_statistics
        self.register_buffer("_mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    @property
    def wanted(self) -> set[str]:
        """Names of the layers that the head takes."""
        head: Any = self.head
        return set(head.layers)

    def forward(self, inputs: Tensor, *others: Any) -> Any:
        """Return the head's outputs.

        Parameters
        ----------
        inputs : Tensor
            Pixels ``(B, C, H, W)`` from 0 to 255, or the stage's maps ``(B, D, H, W)``.
        *others
            What the head takes beside the maps. Targets come this way, so that a loss is a
            head's output too, and several processes can share it.
        """
        inputs = inputs.float()
        if self.stage is None:
            inputs = (inputs / 255 - self._mean) / self._std
        if getattr(self.body, "is_nhwc", False) and self.stage is not None:
            inputs = inputs.permute(0, 2, 3, 1)
        else:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return self.head(self.body(inputs, self.wanted), *others)

    def train(self, mode: bool = True) -> Self:
        """Set the mode. Batch norm stays in eval mode if its statistics are frozen."""
        super().train(mode)
        if self.freeze_statistics:
            for module in self.modules():
                if is_batch_norm(module):
                    module.eval()
        return self

    def set_head(self, coef: Tensor, intercept: Tensor) -> None:
        """Give the head weights ``(n_outputs, n_features)`` and biases ``(n_outputs,)``."""
        head: Any = self.head
        with torch.no_grad():
            head.weight.copy_(coef)
            head.bias.copy_(intercept)


def build_network(
    spec: BackboneSpec,
    strategy: Strategy,
    recipe: BodySettings,
    create_head: Callable[[int], H],
    stage: str | None,
) -> tuple[BackboneWithHead[H], dict[str, Tensor]]:
    """Build the network of a strategy, and return the body's original weights with it.

    Parameters
    ----------
    spec : BackboneSpec
        The backbone.
    strategy : Strategy
        What is trained.
    recipe : BodySettings
        Such as a `Recipe`.
    create_head : callable
        Makes the head; it is given the width of ``pre_logits``.
    stage : str, optional
        Cut above this one.

    Returns
    -------
    network : BackboneWithHead
        Float32, on the CPU; only what learns requires a gradient.
    weights : dict of str to Tensor
        The whole body's state, under the names that the network's body keeps.
    """
    built = spec
    if recipe.drop_path:
        arguments = {**spec.arguments, "drop_path_rate": recipe.drop_path}
        built = dataclasses.replace(spec, arguments=arguments)
    backbone = build_backbone(built)
    body: Any = backbone.network
    weights = {name: value.clone() for name, value in body.state_dict().items()}
    example = torch.rand(2, spec.preprocess.in_chans, *spec.preprocess.image_size) * 2 - 1
    if stage is not None:
        example = cut_above(body, stage, example, spec.name)
    if recipe.checkpointing:
        checkpoint_activations(body, spec.name)
    choose_parameters(body, strategy, recipe)
    network = BackboneWithHead(
        body,
        create_head(backbone.layers["pre_logits"].channels),
        mean=spec.preprocess.mean,
        std=spec.preprocess.std,
        stage=stage,
        freeze_statistics=recipe.freeze_statistics,
    )
    _freeze_unused(network, example)
    # A fifth faster on CPUs, and more on GPUs.
    network = network.to(memory_format=torch.channels_last)
    return network, weights


def _freeze_unused(network: BackboneWithHead[Any], example: Tensor) -> None:
    """Freeze what the head doesn't depend on, such as the backbone's own classifier."""
    network.eval()
    # A detection head's outputs are no tensor; it says itself what it depends on.
    reach = getattr(network.head, "reach", network.head)
    reach(network.body(example, network.wanted)).sum().backward()
    for parameter in network.body.parameters():
        if parameter.grad is None:
            parameter.requires_grad_(False)
    network.zero_grad(set_to_none=True)


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
