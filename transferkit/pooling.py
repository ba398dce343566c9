"""Pooling turns a backbone's maps into one row per image; feature names say which pooling.

A pooling is a function ``pool_NAME(map, prefix)`` in this file: adding the function adds the name.
A pooling that needs no prefix tokens gives `prefix` a default. One without that default needs a
class token, and `FeatureName.needs_class_token` says so.
"""

from dataclasses import dataclass
from inspect import Parameter, signature

import torch
from torch import Tensor

from transferkit.maps import FeatureMaps
from transferkit.registry import unknown

__all__ = ["VECTOR_LAYERS", "FeatureName", "parse_feature", "pool", "pooling_names"]

VECTOR_LAYERS = ("pre_logits", "logits")


def pool_avg(maps: Tensor, prefix: Tensor | None = None) -> Tensor:
    """Mean over the map's pixels, or the patch tokens: ``(B, D)``."""
    return maps.mean((2, 3))


def pool_max(maps: Tensor, prefix: Tensor | None = None) -> Tensor:
    """Maximum over the map's pixels: ``(B, D)``."""
    return maps.amax((2, 3))


def pool_avgmax(maps: Tensor, prefix: Tensor | None = None) -> Tensor:
    """Half the sum of mean and maximum, as timm's pooling of that name: ``(B, D)``."""
    return 0.5 * (pool_avg(maps) + pool_max(maps))


def pool_gem(maps: Tensor, prefix: Tensor | None = None) -> Tensor:
    """Generalised mean with exponent 3 over values clamped at 1e-6: ``(B, D)``.

    References
    ----------
    Radenović, Tolias, Chum (2019), "Fine-tuning CNN image retrieval with no human
    annotation", equation 1, with p fixed at its usual value.
    """
    return maps.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)


def pool_cls(maps: Tensor, prefix: Tensor | None) -> Tensor:
    """Return the class token: ``(B, D)``."""
    if prefix is None:
        raise ValueError("pooling 'cls' needs a class token, and this layer has none; use 'avg'")
    return prefix[:, 0]


def pool_cls_avg(maps: Tensor, prefix: Tensor | None) -> Tensor:
    """Class token and mean of the patch tokens, side by side: ``(B, 2 D)``."""
    return torch.cat((pool_cls(maps, prefix), pool_avg(maps)), dim=1)


def pool_flatten(maps: Tensor, prefix: Tensor | None = None) -> Tensor:
    """All of the map's values as one row: ``(B, D * H * W)``."""
    return maps.flatten(1)


def pool_map(maps: Tensor, prefix: Tensor | None = None) -> Tensor:
    """Return the map itself, a dense feature: ``(B, D, H, W)``."""
    return maps


_POOLINGS = {
    name.removeprefix("pool_"): value
    for name, value in list(globals().items())
    if name.startswith("pool_")
}


def pooling_names() -> list[str]:
    """Names of the poolings, sorted.

    Examples
    --------
    >>> "gem" in pooling_names()
    True
    """
    return sorted(_POOLINGS)


@dataclass(frozen=True)
class FeatureName:
    """The parts of a feature's name.

    Parameters
    ----------
    layer : str
        ``pre_logits``, ``logits``, ``final``, ``stageN``, ``blockN``.
    pooling : str
        One of `pooling_names`; empty for a layer that is a vector.
    is_normed : bool, default=False
        Whether the network's final norm is applied to the layer's tokens first.
    """

    layer: str
    pooling: str
    is_normed: bool = False

    def __str__(self) -> str:
        suffix = "_norm" if self.is_normed else ""
        return f"{self.layer}.{self.pooling}{suffix}" if self.pooling else self.layer

    @property
    def needs_class_token(self) -> bool:
        """Whether the pooling reads the class token."""
        if not self.pooling:
            return False
        prefix = signature(_POOLINGS[self.pooling]).parameters["prefix"]
        return prefix.default is Parameter.empty

    @property
    def source(self) -> str:
        """The layer's name among a `FeatureMaps`' maps."""
        return f"{self.layer}_norm" if self.is_normed else self.layer


def parse_feature(name: str) -> FeatureName:
    """Parse a feature's name.

    Parameters
    ----------
    name : str
        ``layer[.pooling]``; a map without pooling gets ``avg``, and ``_norm`` behind a
        pooling applies the network's final norm first, as in ``block11.cls_norm``.

    Returns
    -------
    FeatureName
        Its ``str`` is the canonical name.

    Raises
    ------
    ValueError
        If there's no such pooling, or the layer takes none.

    Examples
    --------
    >>> parse_feature("stage3")
    FeatureName(layer='stage3', pooling='avg', is_normed=False)
    >>> str(parse_feature("block11.cls_norm"))
    'block11.cls_norm'
    """
    layer, _, pooling = name.strip().partition(".")
    if layer in VECTOR_LAYERS:
        if pooling:
            raise ValueError(
                f"feature {name!r}: {layer!r} is one vector per image and takes no pooling; "
                f"write {layer!r}, or pool a map, such as 'final.{pooling}'"
            )
        return FeatureName(layer, "")
    is_normed = pooling.endswith("_norm")
    pooling = pooling.removesuffix("_norm") or "avg"
    if pooling not in pooling_names():
        raise unknown(f"pooling in feature {name!r}:", pooling, pooling_names())
    if not layer:
        raise ValueError(f"feature {name!r} names no layer; write layer.pooling, as in 'final.avg'")
    if is_normed and layer == "final":
        is_normed = False  # the final map stands after the norm already
    return FeatureName(layer, pooling, is_normed)


def pool(maps: FeatureMaps, feature: FeatureName) -> Tensor:
    """Compute the rows of one feature from the maps of one forward pass.

    Parameters
    ----------
    maps : FeatureMaps
        For B images.
    feature : FeatureName
        What to take.

    Returns
    -------
    Tensor
        ``(B, d)``, or ``(B, D, H, W)`` for a dense feature.
    """
    if feature.layer in VECTOR_LAYERS:
        rows = getattr(maps, feature.layer)
        if not isinstance(rows, Tensor):
            raise ValueError(f"this forward pass did not compute {feature.layer!r}")
        return rows
    source = feature.source
    rows = _POOLINGS[feature.pooling](maps.maps[source], maps.prefix.get(source))
    assert isinstance(rows, Tensor)
    return rows
