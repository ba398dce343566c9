"""Backbones from torchvision that timm lacks: AlexNet and GoogLeNet."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from transferkit.backbones import Backbone, BackboneInfo, Overrides, gmacs_of
from transferkit.backbones._tensors import n_classes_in, read_tensors
from transferkit.backbones._weights import digest_of, find_weights
from transferkit.maps import FeatureMaps, LayerInfo
from transferkit.registry import unknown
from transferkit.spec import BackboneSpec

__all__ = ["EXAMPLE", "build", "layers", "resolve", "search"]

EXAMPLE = "torchvision:googlenet"

# Modules in the order of the forward pass, and the layers that stand behind some of them.
_ALEXNET = {
    **{f"features.{i}": "" for i in range(13)},
    "features.1": "stage0",
    "features.4": "stage1",
    "features.11": "stage2",
    "features.12": "final",
}
_GOOGLENET = {
    "conv1": "stage0",
    "maxpool1": "",
    "conv2": "",
    "conv3": "stage1",
    "maxpool2": "",
    "inception3a": "",
    "inception3b": "stage2",
    "maxpool3": "",
    "inception4a": "",
    "inception4b": "",
    "inception4c": "",
    "inception4d": "",
    "inception4e": "stage3",
    "maxpool4": "",
    "inception5a": "",
    "inception5b": "final",
}
_LAYERS = {
    "alexnet": {
        "stage0": LayerInfo(64, 4),
        "stage1": LayerInfo(192, 8),
        "stage2": LayerInfo(256, 16),
        "final": LayerInfo(256, 32),
        "pre_logits": LayerInfo(4096, 0),
        "logits": LayerInfo(1000, 0),
    },
    "googlenet": {
        "stage0": LayerInfo(64, 2),
        "stage1": LayerInfo(192, 4),
        "stage2": LayerInfo(480, 8),
        "stage3": LayerInfo(832, 16),
        "final": LayerInfo(1024, 32),
        "pre_logits": LayerInfo(1024, 0),
        "logits": LayerInfo(1000, 0),
    },
}
_URLS = {
    "alexnet": torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url,
    "googlenet": torchvision.models.GoogLeNet_Weights.IMAGENET1K_V1.url,
}
_TAG = "imagenet1k_v1"
# First and last layer, in timm's words.
_ENDS = {
    "alexnet": {"first_conv": "features.0", "classifier": "classifier.6"},
    "googlenet": {"first_conv": "conv1.conv", "classifier": "fc"},
}


def resolve(
    name: str,
    *,
    pretrained: bool,
    weights: Path | None,
    seed: int,
    overrides: Overrides,
    arguments: Mapping[str, Any],
) -> BackboneSpec:
    """Resolve a torchvision name to everything that decides the numbers."""
    architecture, _, tag = name.partition(".")
    if architecture not in _LAYERS:
        raise unknown("torchvision backbone", architecture, sorted(_LAYERS))
    if tag not in ("", _TAG):
        raise unknown(f"weights of {architecture!r}:", tag, [_TAG])
    if overrides.in_chans not in (None, 3):
        raise ValueError(
            f"torchvision:{architecture} takes 3 channels, not {overrides.in_chans}; choose one of "
            "timm's backbones, or 3 of the images' channels (bands, --bands)"
        )
    path: Path | None = None
    if pretrained or weights is not None:
        path = find_weights(f"torchvision:{name}", {"url": _URLS[architecture]}, weights)
    # torchvision's GoogLeNet weights were trained on another normalisation, which the network
    # undoes itself.
    own: dict[str, Any] = {}
    if path is not None and architecture == "googlenet":
        own = {"transform_input": True}
    if weights is not None and (n := n_classes_in(weights, _ENDS[architecture])) != 1000:
        own["num_classes"] = n
    if arguments and dict(arguments) != own:
        raise ValueError(
            f"torchvision:{architecture} takes no creation arguments; leave out "
            f"{', '.join(arguments)}"
        )
    return BackboneSpec(
        name=f"torchvision:{name}",
        source="torchvision",
        architecture=architecture,
        arguments=own,
        weights=f"random:{seed}" if path is None else digest_of(path),
        preprocess=overrides.preprocess(
            image_size=(224, 224),
            crop_pct=0.875,
            crop_mode="center",
            interpolation="bilinear",
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
        weights_path="" if path is None else str(path),
        loading={"weights_given": weights is not None},
    )


def build(spec: BackboneSpec, *, layers: tuple[str, ...] | None) -> Backbone:
    """Build the whole network and load its weights strictly."""
    infos = _infos(spec)
    for layer in layers or ():
        if layer not in infos:
            raise unknown(f"layer of {spec.name!r}:", layer, infos)
    seed = int(spec.weights.removeprefix("random:")) if spec.is_random else 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _create(spec.architecture, **spec.arguments)
    if spec.weights_path:
        try:
            _load(network, Path(spec.weights_path), spec.architecture)
        except (RuntimeError, AttributeError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"the weights {spec.weights_path!r} don't fit torchvision:{spec.architecture} "
                f"({reason}); give those of that architecture"
            ) from error
    order = _ALEXNET if spec.architecture == "alexnet" else _GOOGLENET
    return Backbone(spec, _Network(network, order, infos), layers=infos)


def layers(spec: BackboneSpec) -> dict[str, LayerInfo]:
    """Layers of a spec's network."""
    return _infos(spec)


def _infos(spec: BackboneSpec) -> dict[str, LayerInfo]:
    n_classes = spec.arguments.get("num_classes", 1000)
    infos = _LAYERS[spec.architecture] | {"logits": LayerInfo(n_classes, 0)}
    return infos if n_classes else {n: info for n, info in infos.items() if n != "logits"}


def _create(architecture: str, num_classes: int = 1000, **arguments: Any) -> Any:
    if architecture == "alexnet":
        return torchvision.models.alexnet(weights=None, num_classes=max(num_classes, 1))
    # Published weights hold the auxiliary classifiers too; features don't pass through them.
    return torchvision.models.googlenet(
        weights=None,
        aux_logits=True,
        init_weights=False,
        num_classes=max(num_classes, 1),
        **arguments,
    )


def _load(network: nn.Module, path: Path, architecture: str) -> None:
    """Load all weights, except for classifiers that the file may lack."""
    ends = _ENDS[architecture]
    tensors = read_tensors(path, ends)
    result = network.load_state_dict(tensors, strict=False)
    optional = (f"{ends['classifier']}.", "aux")
    missing = [name for name in result.missing_keys if not name.startswith(optional)]
    if missing or result.unexpected_keys:
        lacking, foreign = (", ".join(n[:4]) or "none" for n in (missing, result.unexpected_keys))
        raise RuntimeError(f"missing: {lacking}; unknown: {foreign}")


class _Network(nn.Module):
    """Runs the modules one after the other, and keeps their maps."""

    def __init__(
        self, network: nn.Module, order: Mapping[str, str], infos: Mapping[str, LayerInfo]
    ) -> None:
        super().__init__()
        self.network = network
        self.order = dict(order)
        self.infos = dict(infos)

    def forward(self, images: Tensor, layers: set[str]) -> FeatureMaps:
        maps: dict[str, Tensor] = {}
        x = images
        if isinstance(self.network, torchvision.models.GoogLeNet):
            x = self.network._transform_input(x)
        for module, layer in self.order.items():
            x = self.network.get_submodule(module)(x)
            if layer in layers:
                maps[layer] = x.clone()  # the next module may compute in place
            if layers <= set(maps):
                break
        strides = {layer: self.infos[layer].stride for layer in maps}
        if not layers & {"pre_logits", "logits"}:
            return FeatureMaps(maps, strides)
        pre_logits, logits = self._head(x)
        return FeatureMaps(maps, strides, pre_logits=pre_logits, logits=logits)

    def _head(self, final: Tensor) -> tuple[Tensor, Tensor]:
        network: Any = self.network
        pooled = network.avgpool(final).flatten(1)
        if isinstance(self.network, torchvision.models.GoogLeNet):
            return pooled, network.fc(pooled)
        pre_logits = network.classifier[:-1](pooled)
        return pre_logits, network.classifier[-1](pre_logits)


def search(pattern: str, details: int) -> list[BackboneInfo]:
    """Find architectures by name, and describe them without weights."""
    glob = pattern if set(pattern) & set("*?[") else f"*{pattern}*"
    names = [n for n in _LAYERS if fnmatch.fnmatchcase(f"torchvision:{n}", glob)]
    return [_info(name, len(names) <= details) for name in names]


def _info(name: str, described: bool) -> BackboneInfo:
    size = (224, 224)
    if not described:
        return BackboneInfo(f"torchvision:{name}", (_TAG,), size, None, None, {})
    with torch.device("meta"):
        network = _create(name).eval()
    main = [p for n, p in network.named_parameters() if not n.startswith("aux")]
    return BackboneInfo(
        f"torchvision:{name}",
        (_TAG,),
        size,
        sum(p.numel() for p in main),
        gmacs_of(network, size),
        _LAYERS[name],
    )
