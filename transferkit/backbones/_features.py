"""`FeatureBackbone`, a backbone as a plain torch module for networks of your own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from transferkit.backbones._backbone import Backbone
from transferkit.backbones._timm_layers import is_batch_norm
from transferkit.maps import FeatureMaps, LayerInfo
from transferkit.spec import BackboneSpec

__all__ = ["FeatureBackbone", "layers_at"]


def layers_at(
    layers: Mapping[str, LayerInfo], indices: Sequence[int] | None, name: str
) -> tuple[str, ...]:
    """Names of a backbone's maps from their numbers, which mean what timm's ``out_indices`` do.

    Parameters
    ----------
    layers : mapping of str to LayerInfo
        The backbone's, as `Backbone.layers` or `layers_of`.
    indices : sequence of int or None
        Numbers of stages, or of a plain transformer's blocks, from 0; negative ones count from
        the end. None for all stages, or for the last block.
    name : str
        The backbone's name, for the message.

    Returns
    -------
    tuple of str
        Fine to coarse.

    Raises
    ------
    ValueError
        If there are no such maps.

    Examples
    --------
    >>> strides = {"stage0": 4, "stage1": 8, "stage2": 16, "final": 16}
    >>> layers = {name: LayerInfo(16, stride) for name, stride in strides.items()}
    >>> layers_at(layers, (1, -1), "a network")
    ('stage1', 'stage2')
    """
    maps = {layer: info for layer, info in layers.items() if info.is_map}
    if not maps:
        raise ValueError(f"{name!r} gives no maps; choose another (`transferkit backbones`)")
    inner = {info.stride for layer, info in maps.items() if layer != "final"}
    # AlexNet's and GoogLeNet's last stage has no other name than `final`.
    known = [layer for layer, info in maps.items() if layer != "final" or info.stride not in inner]
    if indices is None:
        return (known[-1],) if known[0].startswith("block") else tuple(known)
    wrong = [i for i in indices if not -len(known) <= i < len(known)]
    chosen = sorted({i % len(known) for i in indices})
    if wrong or not chosen or len(chosen) != len(indices):
        raise ValueError(
            f"output_indices is {list(indices)}, and {name!r} has the maps 0 to {len(known) - 1} "
            f"({known[0]} … {known[-1]}); give one or more of these, each once"
        )
    return tuple(known[i] for i in chosen)


class FeatureBackbone(nn.Module):
    """A backbone that returns maps and may be trained, for networks of your own.

    Made by ``create_backbone(name, features_only=True)``. Unlike a `Backbone` it is a module
    like any other: a copy has weights of its own, and ``state_dict`` holds them.

    While no parameter requires a gradient, it stays in eval mode whatever `train` says: dropout
    is off, and batch norm's means and variances don't move.

    Parameters
    ----------
    backbone : Backbone
        Its network is taken over, and no longer the backbone's own.
    layers : sequence of str
        The maps that are returned, fine to coarse.
    trainable : bool, default=False
        Whether the parameters that the maps depend on require a gradient. ``requires_grad_()``
        changes it later, for all parameters or for some.
    freeze_statistics : bool, default=True
        Whether batch norm keeps its means and variances in training too; batches of detection
        and segmentation are mostly too small to estimate them.

    Attributes
    ----------
    layers : tuple of str
        Names of the maps.
    out_channels : tuple of int
        Width of each.
    strides : tuple of int
        Input px per map px of each, nominal: Inception's maps are a few px smaller than that.
    mean, std : tuple of float
        Of the images it takes, whose pixels are scaled to [0, 1] first.

    Examples
    --------
    >>> from transferkit import create_backbone
    >>> backbone = create_backbone(
    ...     "test_resnet", pretrained=False, features_only=True, output_indices=(2, 3, 4),
    ...     trainable=True,
    ... )
    >>> backbone.layers, backbone.out_channels, backbone.strides
    (('stage2', 'stage3', 'stage4'), (48, 192, 96), (8, 16, 32))
    >>> pixels = torch.randint(256, (2, 3, 64, 96), dtype=torch.uint8)
    >>> {name: tuple(x.shape) for name, x in backbone(backbone.normalize(pixels)).items()}
    {'stage2': (2, 48, 8, 12), 'stage3': (2, 192, 4, 6), 'stage4': (2, 96, 2, 3)}
    """

    _mean: Tensor
    _std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        layers: Sequence[str],
        *,
        trainable: bool = False,
        freeze_statistics: bool = True,
    ) -> None:
        super().__init__()
        infos = [backbone.check_layer(layer) for layer in layers]
        self.spec: BackboneSpec = backbone.spec
        self.body = backbone.network
        self.layers = tuple(layers)
        self.out_channels = tuple(info.channels for info in infos)
        self.strides = tuple(info.stride for info in infos)
        self.mean, self.std = self.spec.preprocess.mean, self.spec.preprocess.std
        self.freeze_statistics = freeze_statistics
        for name, values in (("_mean", self.mean), ("_std", self.std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
        self.requires_grad_(trainable)
        if trainable:
            self._freeze_unused()
        self.train(trainable)

    def _freeze_unused(self) -> None:
        """Freeze what the maps don't depend on, such as the network's own classifier.

        Training in several processes fails at parameters that never get a gradient.
        """
        self.eval()
        maps = self(torch.rand(1, len(self.mean), *self.spec.preprocess.image_size) * 2 - 1)
        torch.autograd.backward([x.float().sum() for x in maps.values()])
        for parameter in self.parameters():
            parameter.requires_grad_(parameter.grad is not None)
        self.zero_grad(set_to_none=True)

    @property
    def is_frozen(self) -> bool:
        """Whether no parameter requires a gradient."""
        return not any(parameter.requires_grad for parameter in self.parameters())

    def train(self, mode: bool = True) -> Self:
        """Set the mode, which of a frozen network is eval."""
        super().train(mode and not self.is_frozen)
        if self.freeze_statistics:
            for module in self.modules():
                if is_batch_norm(module):
                    module.eval()
        return self

    def normalize(self, pixels: Tensor) -> Tensor:
        """Input for `forward`: pixels scaled to [0, 1], less mean, over standard deviation.

        Parameters
        ----------
        pixels : Tensor
            uint8, ``(B, C, H, W)``; float32 from 0 to 255 where the preprocessing isn't that of
            8-bit RGB.

        Raises
        ------
        ValueError
            If they aren't uint8 and should be, so that nothing is normalised twice.
        """
        if pixels.dtype != torch.uint8 and self.spec.preprocess.is_rgb:
            raise ValueError(
                f"pixels are {pixels.dtype}; give uint8 from 0 to 255, or what is normalised "
                "already straight to the network"
            )
        return (pixels.to(self._mean.dtype) / 255 - self._mean) / self._std

    def maps(self, images: Tensor) -> FeatureMaps:
        """Compute the maps as a neck takes them; see `forward`."""
        found: FeatureMaps = self.body(images, set(self.layers))
        strides = dict(zip(self.layers, self.strides, strict=True))
        return FeatureMaps({name: found.maps[name] for name in self.layers}, strides)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Compute the maps ``(B, D, H, W)`` by name, fine to coarse.

        Parameters
        ----------
        images : Tensor
            Normalised, ``(B, 3, H, W)``, as from `normalize` or from a transform with the
            backbone's ``mean`` and ``std``. A network whose input has a fixed size takes that of
            its ``spec.preprocess.image_size``, set by ``image_size``.
        """
        return OrderedDict(self.maps(images).maps)

    def extra_repr(self) -> str:
        """Tell what it is."""
        what: dict[str, Any] = {"layers": self.layers, "strides": self.strides}
        words = [repr(self.spec.name), *(f"{name}={value}" for name, value in what.items())]
        return ", ".join(words)
