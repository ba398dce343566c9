"""`Backbone` holds a frozen network, of which copies share the memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from transferkit.maps import FeatureMaps, LayerInfo
from transferkit.registry import unknown
from transferkit.spec import BackboneSpec, Preprocess

__all__ = ["Backbone"]


class Backbone(nn.Module):
    """A frozen network: eval mode, no gradient, running statistics untouched.

    Made by `create_backbone`. Copying returns the same object and pickling stores how it
    was made, so that a network is never held twice.

    Parameters
    ----------
    spec : BackboneSpec
        What it is.
    network : nn.Module
        Called with normalised images ``(B, C, H, W)`` and the names of the layers that
        are wanted; returns their `FeatureMaps`.
    layers : mapping of str to LayerInfo
        The layers that features can be taken from.
    built_layers : iterable of str, optional
        The layers that it was built for; None for all.
    """

    _mean: Tensor
    _std: Tensor

    def __init__(
        self,
        spec: BackboneSpec,
        network: nn.Module,
        *,
        layers: Mapping[str, LayerInfo],
        built_layers: Iterable[str] | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.layers = dict(layers)
        self.network = network
        self._built_layers = None if built_layers is None else tuple(sorted(built_layers))
        shape = (1, len(spec.preprocess.mean), 1, 1)
        self.register_buffer("_mean", torch.tensor(spec.preprocess.mean).view(shape))
        self.register_buffer("_std", torch.tensor(spec.preprocess.std).view(shape))
        self._lock = threading.Lock()
        self.requires_grad_(False)
        self.train(False)

    @property
    def name(self) -> str:
        """The backbone's name, as the user wrote it."""
        return self.spec.name

    @property
    def weights_digest(self) -> str:
        """``"sha256:…"`` of the weights file, or ``"random:SEED"``."""
        return self.spec.weights

    @property
    def preprocess(self) -> Preprocess:
        """Preprocessing that turns images into the input."""
        return self.spec.preprocess

    @property
    def channels(self) -> dict[str, int]:
        """Width of every layer."""
        return {name: info.channels for name, info in self.layers.items()}

    @property
    def strides(self) -> dict[str, int]:
        """Nominal stride of every map, input px per map px."""
        return {name: info.stride for name, info in self.layers.items() if info.is_map}

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, the only mode of a frozen network."""
        return super().train(False)

    def normalize(self, pixels: Tensor) -> Tensor:
        """Input for `forward`: pixels scaled to [0, 1], less mean, over standard deviation.

        Parameters
        ----------
        pixels : Tensor
            From 0 to 255, ``(B, C, H, W)``: uint8, or float32 where the preprocessing isn't that
            of 8-bit RGB.
        """
        return pixels.to(self._mean.dtype, copy=True).div_(255).sub_(self._mean).div_(self._std)

    def check_layer(self, layer: str, *, class_token: bool = False) -> LayerInfo:
        """Information about a layer.

        Raises
        ------
        ValueError
            If there's no such layer, or it has no class token and should have.
        """
        base = layer.removesuffix("_norm")
        if base not in self.layers:
            raise unknown(f"layer of {self.name!r}:", base, self.layers)
        info = self.layers[base]
        if class_token and not info.has_class_token:
            raise ValueError(
                f"layer {base!r} of {self.name!r} has no class token; pool it with 'avg' instead"
            )
        return info

    def forward(self, images: Tensor, layers: Iterable[str]) -> FeatureMaps:
        """Compute all requested outputs in one pass through the network.

        Parameters
        ----------
        images : Tensor
            Normalised, ``(B, C, H, W)``.
        layers : iterable of str
            Layer names, such as ``"stage3"``, ``"final"``, ``"pre_logits"``.

        Raises
        ------
        ValueError
            If a layer doesn't exist, or the backbone was built without it.
        """
        wanted = set(layers)
        for layer in wanted:
            self.check_layer(layer)
        if self._built_layers is not None and not wanted <= set(self._built_layers):
            raise ValueError(
                f"{self.name!r} was built for {', '.join(self._built_layers)} only; build it "
                f"again with layers={sorted(wanted)}"
            )
        with self._lock:
            maps = self.network(images, wanted)
        assert isinstance(maps, FeatureMaps)
        return maps

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.spec.to_json(), self._built_layers)

    def __repr__(self) -> str:
        return f"Backbone({self.name!r}, weights={self.weights_digest[:19]!r})"


def _rebuild(spec: str, layers: tuple[str, ...] | None) -> Backbone:
    from transferkit.backbones import build_backbone  # which imports this file

    return build_backbone(BackboneSpec.from_json(spec), layers=layers)
