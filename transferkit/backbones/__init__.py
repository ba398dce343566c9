"""Backbones: frozen pretrained networks that turn images into feature maps.

A file of this folder is a source of backbones, used as ``source:model``; names without
a known source are timm's. What a file offers is written down as `Source`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import nn

from transferkit import registry
from transferkit.backbones._backbone import Backbone
from transferkit.backbones._cutting import checkpoint_activations, cut_above
from transferkit.backbones._features import FeatureBackbone, layers_at
from transferkit.backbones._source import BackboneInfo, Overrides, Source
from transferkit.backbones._timm_layers import activation_of, is_batch_norm, is_norm
from transferkit.backbones._weights import hub_snapshot
from transferkit.maps import LayerInfo
from transferkit.spec import BackboneSpec

__all__ = [
    "Backbone",
    "BackboneInfo",
    "FeatureBackbone",
    "Overrides",
    "Source",
    "activation_of",
    "build_backbone",
    "checkpoint_activations",
    "create_backbone",
    "cut_above",
    "gmacs_of",
    "hub_snapshot",
    "is_batch_norm",
    "is_norm",
    "layers_of",
    "resolve_backbone",
    "search_backbones",
]


# More are a typing error.
_MOST_CHANNELS = 10_000


def gmacs_of(network: nn.Module, size: tuple[int, int]) -> float | None:
    """Count the multiply-adds for one image, in 10⁹, on the meta device; None if that fails."""
    from torch.utils.flop_counter import FlopCounterMode

    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 3, *size, device="meta"))
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return None  # some networks compute with values that the meta device doesn't have
    return float(counter.get_total_flops()) / 2e9


def _named(source: str) -> Source:
    module: Any = registry.load(__name__, source, "backbone source")
    found: Source = module
    return found


def _split(name: str) -> tuple[str, str]:
    if name == "bundled":  # the one that comes with the package needs no name of its own
        return "bundled", ""
    prefix, colon, model = name.partition(":")
    if colon and prefix in registry.names(__name__):
        return prefix, model
    return "timm", name  # timm's own prefixes, hf-hub: and local-dir:, among them


def resolve_backbone(
    name: str,
    pretrained: bool = True,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    image_size: int | tuple[int, int] | None = None,
    crop_pct: float | None = None,
    crop_mode: str | None = None,
    interpolation: str | None = None,
    exif: bool = False,
    decode: str = "exact",
    in_chans: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    value_range: Sequence[float] | None = None,
    window: bool = False,
    bands: Sequence[int] | None = None,
    layout: str = "HWC",
    **arguments: Any,
) -> BackboneSpec:
    """Resolve a backbone to everything that decides its numbers, without building it.

    Weights that aren't on this machine yet are downloaded, to be digested.

    Parameters
    ----------
    name : str
        timm's name: ``arch``, ``arch.tag``, ``hf-hub:…``, ``local-dir:…``; or ``bundled``, or
        ``torchvision:…``.
    pretrained : bool, default=True
        False draws random weights.
    weights : path, optional
        A local weights file for the architecture (safetensors; or a PyTorch file, of
        which only tensors are loaded).
    seed : int, default=0
        Of random weights.
    image_size : int or (int, int), optional
        Input height and width, px; None for the backbone's own.
    crop_pct, crop_mode, interpolation
        Override the backbone's own preprocessing; see `Preprocess`.
    exif : bool, default=False
        Whether to apply the EXIF orientation.
    decode : {"exact", "scaled"}, default="exact"
        Decode mode; see `Preprocess`.
    in_chans : int, optional
        How many channels images have; None for the backbone's own number, 3. timm makes the first
        layer's pretrained weights suit another one: it repeats them, scaled. The mean and standard
        deviation of the channels have to be given then.
    mean, std : float or sequence of float, optional
        Of the images' values, scaled to [0, 1], for all channels or each; None for the
        backbone's own.
    value_range : (float, float), optional
        The values of an image that become 0 and 1. Without it images are of 8 bits.
    window : bool, default=False
        Whether a DICOM file's own window is the range.
    bands : sequence of int, optional
        The channels of an image that are taken, in this order, from 1; None for all.
    layout : {"HWC", "CHW"}, default="HWC"
        Where the channels of an array are; see `Preprocess`.
    **arguments
        timm's creation arguments, such as ``output_stride`` or ``pad_type``.

    Returns
    -------
    BackboneSpec
        Resolved.

    Raises
    ------
    ValueError
        If the name is unknown, or the weights don't exist.
    OSError
        If the weights can't be downloaded or read.
    """
    source, model = _split(name)
    return _named(source).resolve(
        model,
        pretrained=pretrained,
        weights=None if weights is None else Path(weights),
        seed=seed,
        overrides=Overrides(
            image_size=(image_size, image_size) if isinstance(image_size, int) else image_size,
            crop_pct=crop_pct,
            crop_mode=crop_mode,
            interpolation=interpolation,
            exif=exif,
            decode=decode,
            in_chans=_whole_number(in_chans),
            mean=_numbers("mean", mean),
            std=_numbers("std", std),
            value_range=_numbers("value_range", value_range) or (),
            window=window,
            bands=_whole_numbers(bands),
            layout=layout,
        ),
        arguments=arguments,
    )


def _numbers(what: str, given: float | Sequence[float] | None) -> tuple[float, ...] | None:
    """Turn one number or several into a tuple."""
    if given is None:
        return None
    values = [given] if isinstance(given, int | float) else given
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is {given!r}; give numbers") from error


def _whole_number(given: int | None) -> int | None:
    if given is not None and (type(given) is not int or not 1 <= given <= _MOST_CHANNELS):
        raise ValueError(
            f"in_chans is {given!r}; give a whole number from 1 to {_MOST_CHANNELS:,} "
            "(--in-chans 5)"
        )
    return given


def _whole_numbers(given: Sequence[int] | None) -> tuple[int, ...]:
    try:
        return tuple(operator.index(value) for value in given or ())
    except TypeError as error:
        raise ValueError(f"bands is {given!r}; give whole numbers, such as (3, 2, 1)") from error


def build_backbone(spec: BackboneSpec, *, layers: Iterable[str] | None = None) -> Backbone:
    """Build a backbone from its resolved spec.

    Parameters
    ----------
    spec : BackboneSpec
        From `resolve_backbone`.
    layers : iterable of str, optional
        The layers that will be asked for; what isn't needed may be left out. None for all.

    Raises
    ------
    ValueError
        If the network doesn't take an argument, or the weights don't fit it.
    """
    return _named(spec.source).build(spec, layers=None if layers is None else tuple(layers))


def layers_of(spec: BackboneSpec) -> dict[str, LayerInfo]:
    """Layers that features can be taken from, found without loading weights.

    Parameters
    ----------
    spec : BackboneSpec
        From `resolve_backbone`.

    Returns
    -------
    dict of str to LayerInfo
        As `Backbone.layers`, with the strides that creation arguments such as ``output_stride``
        and ``patch_size`` lead to.

    Raises
    ------
    ValueError
        If the network doesn't take an argument, or gives no maps.

    Examples
    --------
    >>> spec = resolve_backbone("resnet18", pretrained=False, output_stride=8)
    >>> {name: info.stride for name, info in layers_of(spec).items() if info.is_map}
    {'stage0': 2, 'stage1': 4, 'stage2': 8, 'stage3': 8, 'stage4': 8, 'final': 8}
    """
    return _named(spec.source).layers(spec)


@overload
def create_backbone(
    name: str,
    pretrained: bool = True,
    *,
    layers: Iterable[str] | None = None,
    features_only: Literal[False] = False,
    **options: Any,
) -> Backbone: ...


@overload
def create_backbone(
    name: str,
    pretrained: bool = True,
    *,
    layers: Iterable[str] | None = None,
    features_only: Literal[True],
    output_indices: Sequence[int] | None = None,
    trainable: bool = False,
    freeze_statistics: bool = True,
    **options: Any,
) -> FeatureBackbone: ...


def create_backbone(
    name: str,
    pretrained: bool = True,
    *,
    layers: Iterable[str] | None = None,
    features_only: bool = False,
    output_indices: Sequence[int] | None = None,
    trainable: bool = False,
    freeze_statistics: bool = True,
    **options: Any,
) -> Backbone | FeatureBackbone:
    """Build a frozen backbone, or one that returns maps for a network of your own.

    Parameters
    ----------
    name : str
        timm's name: ``arch``, ``arch.tag``, ``hf-hub:…``, ``local-dir:…``.
    pretrained : bool, default=True
        False draws random weights.
    layers : iterable of str, optional
        The layers that will be asked for; None for all.
    features_only : bool, default=False
        Whether the result is a `FeatureBackbone`: a torch module from images to maps, with
        gradient on request. The four parameters below are its.
    output_indices : sequence of int, optional
        Which maps, by timm's numbers: stages from 0, or blocks of a plain transformer; negative
        ones count from the end. By default those of `layers`, or all stages, or the last block.
    trainable : bool, default=False
        Whether its parameters require a gradient.
    freeze_statistics : bool, default=True
        Whether batch norm keeps its means and variances in training.
    **options
        As for `resolve_backbone`: ``weights``, ``seed``, ``image_size``, … and timm's
        creation arguments, such as ``output_stride``.

    Raises
    ------
    ValueError
        If there's no such backbone or map, or an option doesn't go with another.

    See Also
    --------
    resolve_backbone : Resolves a backbone without building it.
    search_backbones : Finds names of backbones.
    FeatureExtractor : Extracts features with a backbone.

    Examples
    --------
    >>> backbone = create_backbone("resnet18", pretrained=False)
    >>> backbone.channels["final"], backbone.strides["stage3"]
    (512, 16)
    >>> stages = create_backbone(
    ...     "resnet18", pretrained=False, features_only=True, output_indices=(2, 3, 4),
    ...     output_stride=16,
    ... )
    >>> stages.out_channels, stages.strides
    ((128, 256, 512), (8, 16, 16))
    """
    spec = resolve_backbone(name, pretrained, **options)
    if not features_only:
        if output_indices is not None or trainable:
            raise ValueError(
                "output_indices and trainable are those of a module that returns maps; give "
                "features_only=True with them"
            )
        return build_backbone(spec, layers=layers)
    if layers is not None and output_indices is not None:
        raise ValueError("layers and output_indices were both given; give one of them")
    chosen = layers_at(layers_of(spec), output_indices, name) if layers is None else tuple(layers)
    return FeatureBackbone(
        build_backbone(spec, layers=chosen),
        chosen,
        trainable=trainable,
        freeze_statistics=freeze_statistics,
    )


def search_backbones(pattern: str = "*", *, details: int = 20) -> list[BackboneInfo]:
    """Find backbones by name, without downloading anything.

    Parameters
    ----------
    pattern : str, default="*"
        Shell-style; a part of a name is enough.
    details : int, default=20
        For how many matches the network is built without weights, to count parameters
        and multiply-adds and list the layers; above that only names, tags and sizes.
    """
    found: list[BackboneInfo] = []
    for source in registry.names(__name__):
        found += _named(source).search(pattern, details)
    return found
