"""Wrap timm's networks in one call, from images and layer names to `FeatureMaps`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from transferkit.maps import FeatureMaps, LayerInfo

__all__ = ["FullNetwork", "StageNetwork", "layer_index", "layer_infos", "n_prefix_tokens"]

_VECTORS = {"pre_logits", "logits"}


def layer_index(layer: str) -> int:
    return int(layer.removeprefix("stage").removeprefix("block"))


def n_prefix_tokens(network: nn.Module) -> int:
    return int(getattr(network, "num_prefix_tokens", 0) or 0)


def returns_tokens(network: nn.Module) -> bool:
    """Whether the network gives the prefix tokens of inner blocks; XCiT and CaiT don't."""
    function = network.forward_intermediates
    return "return_prefix_tokens" in inspect.signature(function).parameters  # type: ignore[arg-type]


def layer_infos(network: Any) -> dict[str, LayerInfo]:
    """Describe the layers, from timm's own description of the network's features."""
    stages: list[Mapping[str, Any]] = list(getattr(network, "feature_info", None) or [])
    if not stages or not hasattr(network, "forward_intermediates"):
        raise ValueError(
            f"{type(network).__name__} offers no intermediate features in timm; choose another "
            f"architecture (`transferkit backbones`)"
        )
    strides = [int(stage["reduction"]) for stage in stages]
    # If all have one stride, this is a plain transformer, and the entries are its blocks.
    kind = "block" if len(set(strides)) == 1 and len(strides) > 1 else "stage"
    has_class = getattr(network, "cls_token", None) is not None and n_prefix_tokens(network) > 0
    has_inner = has_class and returns_tokens(network)
    infos = {
        f"{kind}{i}": LayerInfo(int(stage["num_chs"]), strides[i], has_inner)
        for i, stage in enumerate(stages)
    }
    infos["final"] = LayerInfo(int(network.num_features), strides[-1], has_class)
    hidden = getattr(network, "head_hidden_size", None) or network.num_features
    infos["pre_logits"] = LayerInfo(int(hidden), 0)
    if int(network.num_classes) > 0:
        infos["logits"] = LayerInfo(int(network.num_classes), 0)
    return infos


class StageNetwork(nn.Module):
    """timm's ``features_only`` network. Its maps are NCHW and have our layer names."""

    def __init__(
        self, network: nn.Module, names: list[str], infos: Mapping[str, LayerInfo]
    ) -> None:
        super().__init__()
        self.network = network
        self.names = names
        self.strides = {name: infos[name].stride for name in names}
        self.is_nhwc = _is_nhwc(network)

    def forward(self, images: Tensor, layers: set[str]) -> FeatureMaps:
        maps = self.network(images)
        if self.is_nhwc:
            maps = [m.permute(0, 3, 1, 2) for m in maps]
        named = {n: m for n, m in zip(self.names, maps, strict=True) if n in layers}
        return FeatureMaps(maps=named, strides={n: self.strides[n] for n in named})


class FullNetwork(nn.Module):
    """The whole network, through ``forward_intermediates`` and ``forward_head``."""

    def __init__(self, network: nn.Module, infos: Mapping[str, LayerInfo]) -> None:
        super().__init__()
        self.network = network
        self.infos = dict(infos)
        self.n_tokens = n_prefix_tokens(network)
        self.is_nhwc = _is_nhwc(network)

    def forward(self, images: Tensor, layers: set[str]) -> FeatureMaps:
        stages = sorted({layer_index(n.removesuffix("_norm")) for n in layers if n[:5] in _STAGES})
        final, intermediates = self._pass(images, stages, bool(layers & (_VECTORS | {"final"})))
        kind = next(iter(self.infos))[:5]
        maps: dict[str, Tensor] = {}
        prefix: dict[str, Tensor] = {}
        for index, item in zip(stages, intermediates, strict=True):
            tokens, spatial = (item[1], item[0]) if isinstance(item, tuple) else (None, item)
            name = f"{kind}{index}"
            if name in layers:
                maps[name] = spatial
                if tokens is not None:
                    prefix[name] = tokens
            if f"{name}_norm" in layers:
                maps[f"{name}_norm"], normed = self._norm(spatial, tokens)
                if normed is not None:
                    prefix[f"{name}_norm"] = normed
        if "final" in layers and final is not None:
            maps["final"], tokens = self._final_map(final, images)
            if tokens is not None:
                prefix["final"] = tokens
        strides = {n: self.infos[n.removesuffix("_norm")].stride for n in maps}
        return FeatureMaps(maps, strides, prefix, *self._head(final, layers))

    def _pass(
        self, images: Tensor, stages: list[int], to_the_end: bool
    ) -> tuple[Tensor | None, list[Any]]:
        if not stages:
            return self.network.forward_features(images), []  # type: ignore[operator]
        options: dict[str, Any] = {"indices": stages, "output_fmt": "NCHW"}
        if self.n_tokens and returns_tokens(self.network):
            options["return_prefix_tokens"] = True
        if not to_the_end:
            options |= {"intermediates_only": True, "stop_early": True}
        result = self.network.forward_intermediates(images, **options)  # type: ignore[operator]
        return (result[0], result[1]) if to_the_end else (None, result)

    def _norm(self, spatial: Tensor, tokens: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The final norm, token by token, as DINOv2's evaluation applies it to inner blocks."""
        norm = getattr(self.network, "norm", None)
        # Only a plain transformer's: elsewhere the inner layers are of other widths.
        if not isinstance(norm, nn.Module) or "block0" not in self.infos:
            raise ValueError(
                "this network has no final norm for inner layers; leave '_norm' out of the feature"
            )
        normed = norm(spatial.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return normed, None if tokens is None else norm(tokens)

    def _final_map(self, final: Tensor, images: Tensor) -> tuple[Tensor, Tensor | None]:
        if final.ndim == 4:
            return (final.permute(0, 3, 1, 2) if self.is_nhwc else final), None
        tokens, patches = final[:, : self.n_tokens], final[:, self.n_tokens :]
        height, width = self._grid(images)
        if patches.shape[1] != height * width:
            raise ValueError(
                f"the final tokens ({patches.shape[1]}) make no map of {height} by {width}; take "
                f"'pre_logits' or an inner layer instead of 'final'"
            )
        maps = patches.transpose(1, 2).reshape(patches.shape[0], -1, height, width)
        return maps, tokens if self.n_tokens else None

    def _grid(self, images: Tensor) -> tuple[int, int]:
        embed: Any = getattr(self.network, "patch_embed", None)
        is_plain = len({info.stride for info in self.infos.values() if info.is_map}) == 1
        if is_plain and hasattr(embed, "dynamic_feat_size"):
            height, width = embed.dynamic_feat_size(tuple(images.shape[-2:]))
            return int(height), int(width)
        stride = self.infos["final"].stride
        return -(-images.shape[-2] // stride), -(-images.shape[-1] // stride)

    def _head(self, final: Tensor | None, layers: set[str]) -> tuple[Tensor | None, Tensor | None]:
        pre_logits = logits = None
        if final is not None and "pre_logits" in layers:
            pre_logits = self.network.forward_head(final, pre_logits=True)  # type: ignore[operator]
        if final is not None and "logits" in layers:
            logits = self.network.forward_head(final)  # type: ignore[operator]
        return pre_logits, logits


_STAGES = {"stage", "block"}


def _is_nhwc(network: nn.Module) -> bool:
    return str(getattr(network, "output_fmt", "")).endswith("NHWC")
