"""Backbones from timm: names, configurations and construction."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import timm.data
import timm.models
import torch
from torch import nn

from transferkit.backbones import Backbone, BackboneInfo, Overrides, gmacs_of
from transferkit.backbones._quiet import quiet
from transferkit.backbones._tensors import is_plain, n_classes_in, read_tensors
from transferkit.backbones._timm_networks import (
    FullNetwork,
    StageNetwork,
    layer_index,
    layer_infos,
    n_prefix_tokens,
)
from transferkit.backbones._weights import digest_of, find_weights
from transferkit.maps import LayerInfo
from transferkit.registry import unknown
from transferkit.spec import BackboneSpec, Preprocess, canonical_json

__all__ = [
    "EXAMPLE",
    "build",
    "describe",
    "folder_config",
    "layers",
    "preprocess_config",
    "resolve",
    "search",
]

EXAMPLE = "test_resnet"

# Arguments of timm.create_model that this file sets, and a user can't.
_RESERVED = (
    "features_only",
    "out_indices",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "in_chans",
    # These would change the weights without a change of the key.
    "checkpoint_path",
    "cache_dir",
)


# ---- a name → a spec ----------------------------------------------------------------


def resolve(
    name: str,
    *,
    pretrained: bool,
    weights: Path | None,
    seed: int,
    overrides: Overrides,
    arguments: Mapping[str, Any],
) -> BackboneSpec:
    """Resolve a timm name to everything that decides the numbers."""
    _check_arguments(arguments)
    cfg, architecture, kwargs, model_args = _from_timm(name, overrides, arguments)
    _check_config(name, kwargs)
    if (n_channels := overrides.in_chans or cfg["input_size"][0]) != 3:
        kwargs["in_chans"] = n_channels
    path: Path | None = None
    if pretrained or weights is not None:
        path = find_weights(name, cfg, weights)
        if weights is not None or cfg.get("source") == "local-dir":
            cfg["num_classes"] = n_classes_in(path, cfg)
        # With another number of classes, timm would load weights that don't fit without an error.
        if kwargs.get("num_classes", cfg["num_classes"]) != cfg["num_classes"]:
            raise ValueError(
                f"num_classes is {kwargs['num_classes']}, but the weights of {name!r} have "
                f"{cfg['num_classes']}; leave it out: a head of your own is trained on the features"
            )
    kwargs.setdefault("num_classes", cfg["num_classes"])
    return BackboneSpec(
        name=name,
        source="timm",
        architecture=architecture,
        arguments=kwargs,
        weights=f"random:{seed}" if path is None else digest_of(path),
        preprocess=_preprocess(cfg, kwargs, overrides),
        weights_path="" if path is None else str(path),
        loading={
            "pretrained_cfg": cfg,
            "pretrained_model_args": model_args,
            "weights_given": weights is not None,
        },
    )


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    for reserved in _RESERVED:
        if reserved in arguments:
            raise ValueError(
                f"argument {reserved!r} can't be given: transferkit sets it itself; choose layers "
                f"by feature name, such as 'stage3.avg', and weights with weights=FILE"
            )
    for argument, value in arguments.items():
        try:
            canonical_json(value)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"argument {argument!r} is {value!r}, which has no place in a key; give a name, a "
                f"number or a list of them"
            ) from error


def _check_config(name: str, kwargs: Mapping[str, Any]) -> None:
    """Refuse a ``config.json`` that says which weights are loaded, or from where."""
    for reserved in (*_RESERVED, "pretrained", "pretrained_model_args"):
        if reserved in kwargs:
            raise _config_error(name, reserved)


def _config_error(name: str, argument: str) -> ValueError:
    return ValueError(
        f"the config.json of {name!r} sets {argument!r} in its model_args, which would change the "
        f"network behind the key; take it out of the file if you trust the rest"
    )


def _from_timm(
    name: str, overrides: Overrides, arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], str, dict[str, Any], dict[str, Any]]:
    """Pretrained configuration, architecture and creation arguments, as timm resolves them."""
    size = overrides.image_size
    if size is not None and "img_size" in arguments:
        raise ValueError("image_size and img_size were both given; give image_size only")
    try:
        resolved = timm.models.resolve_model_input_args(
            name, args={} if size is None else {"img_size": tuple(size)}, **arguments
        )
    except (RuntimeError, ValueError) as error:
        raise _name_error(name, error) from error
    except TypeError as error:  # the folder's model_args stand twice among timm's own arguments
        raise _config_error(name, "pretrained_cfg") from error
    except OSError as error:
        raise OSError(
            f"backbone {name!r} could not be found ({_first_line(error)}); check the folder, or "
            f"the network for a name on the hub"
        ) from error
    architecture = resolved.pop("model_name")
    cfg = dict(resolved.pop("pretrained_cfg"))
    cfg.setdefault("num_classes", 1000)
    model_args = dict(resolved.pop("pretrained_model_args", None) or {})
    if cfg.get("fixed_input_size") and "img_size" not in resolved:
        resolved["img_size"] = cfg["input_size"][-2:]
    if "img_size" in resolved:
        side = resolved["img_size"]
        resolved["img_size"] = [side, side] if isinstance(side, int) else list(side)
    return cfg, architecture, resolved, model_args


def _name_error(name: str, error: Exception) -> Exception:
    architecture, _, tag = name.partition(".")
    if Path(name).is_file():
        return ValueError(
            f"backbone {name!r} is a file; give the name of its architecture, and the file as its "
            f"weights (weights=FILE, --weights FILE)"
        )
    if name and ":" not in name and Path(name).is_dir():
        return ValueError(f"backbone {name!r} is a folder; write 'local-dir:{name}'")
    if ":" in name or "/" in name:
        return ValueError(f"backbone {name!r} could not be resolved: {_first_line(error)}")
    if not timm.models.is_model(architecture):
        return unknown(
            "backbone", architecture, timm.list_models(), "See `transferkit backbones PATTERN`"
        )
    if tag:
        tags = [t.partition(".")[2] for t in timm.models.get_arch_pretrained_cfgs(architecture)]
        return unknown(f"weights of {architecture!r}:", tag, [t for t in tags if t])
    return ValueError(f"backbone {name!r} could not be resolved: {_first_line(error)}")


def _preprocess(
    cfg: Mapping[str, Any], kwargs: Mapping[str, Any], overrides: Overrides
) -> Preprocess:
    data = timm.data.resolve_data_config(pretrained_cfg=dict(cfg))
    words = ("crop_pct", "crop_mode", "interpolation", "mean", "std")
    own = {word: data[word] for word in words}
    return overrides.preprocess(image_size=kwargs.get("img_size") or data["input_size"][-2:], **own)


def preprocess_config(preprocess: Preprocess) -> dict[str, Any]:
    """Preprocessing in the words of timm's ``config.json``."""
    return {
        "input_size": [preprocess.in_chans, *preprocess.image_size],
        "interpolation": preprocess.interpolation,
        "crop_pct": preprocess.crop_pct,
        "crop_mode": preprocess.crop_mode,
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
    }


def folder_config(spec: BackboneSpec) -> dict[str, Any]:
    """Content of timm's ``config.json``, which brings back the arguments and preprocessing."""
    drop = ("url", "hf_hub_id", "hf_hub_filename", "source", "file", "state_dict", "custom_load")
    before = spec.loading["pretrained_cfg"]
    cfg = {name: value for name, value in before.items() if name not in drop and value is not None}
    n_classes = spec.arguments["num_classes"]
    cfg |= {**preprocess_config(spec.preprocess), "num_classes": n_classes}
    own = ("num_classes", "img_size", "in_chans")  # which the rest tells
    arguments = {n: v for n, v in spec.arguments.items() if n not in own}
    return {
        "architecture": spec.architecture,
        "num_classes": n_classes,
        "pretrained_cfg": cfg,
        "model_args": arguments,
    }


# ---- a spec → a network -------------------------------------------------------------


def build(spec: BackboneSpec, *, layers: tuple[str, ...] | None) -> Backbone:
    """Build the network with its head, or its stages alone if nothing else is needed."""
    full = _create(spec)
    infos = layer_infos(full)
    wanted = None if layers is None else {layer.removesuffix("_norm") for layer in layers}
    for layer in wanted or ():
        if layer not in infos:
            raise unknown(f"layer of {spec.name!r}:", layer, infos)
    if layers is None or not _is_stages_only(full, layers):
        return Backbone(spec, FullNetwork(full, infos), layers=infos)
    stages = _create_stages(spec, full, sorted(layer_index(layer) for layer in layers))
    network = StageNetwork(stages, [name for name in infos if name in set(layers)], infos)
    return Backbone(spec, network, layers=infos, built_layers=layers)


def layers(spec: BackboneSpec) -> dict[str, LayerInfo]:
    """Layers of a spec's network, which is made on the meta device, without memory."""
    with torch.device("meta"):
        return layer_infos(_create(dataclasses.replace(spec, weights="random:0", weights_path="")))


def _create(spec: BackboneSpec, **more: Any) -> nn.Module:
    """Create the network by timm and load its weights strictly; `more` are further arguments."""
    cfg = {
        **spec.loading["pretrained_cfg"],
        "source": None,
        "url": None,
        "hf_hub_id": None,
        "hf_hub_filename": None,
        "file": spec.weights_path or None,
        "state_dict": None,
        "custom_load": spec.weights_path.endswith(".npz"),
    }
    pretrained = not spec.is_random
    path = Path(spec.weights_path)
    if pretrained and not is_plain(path, cfg):
        cfg |= {"file": None, "state_dict": read_tensors(path, cfg)}
    # timm draws random weights from the global generator, which is seeded here and restored after.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0 if pretrained else int(spec.weights.removeprefix("random:")))
        try:
            network = timm.create_model(
                spec.architecture,
                pretrained=pretrained,
                pretrained_cfg=cfg,
                pretrained_model_args=dict(spec.loading["pretrained_model_args"]),
                **{**spec.arguments, **more},
            )
        except (TypeError, AssertionError) as error:
            raise _argument_error(spec, error) from error
        except Exception as error:  # timm's readers of foreign weights raise whatever they meet
            raise _building_error(spec, error) from error
    assert isinstance(network, nn.Module)
    return network


def _building_error(spec: BackboneSpec, error: Exception) -> Exception:
    if "weights_only" in str(error):  # torch's and timm's words advise to switch the check off
        return ValueError(
            f"weights file {spec.weights_path!r} holds a pickle that could run code and was not "
            f"loaded; give the weights as .safetensors, or a PyTorch file of tensors only"
        )
    return ValueError(
        f"backbone {spec.name!r} could not be built: {_first_line(error, 300)}; check that the "
        f"weights and the creation arguments belong to this architecture{_size_advice(spec)}"
    )


def _argument_error(spec: BackboneSpec, error: TypeError | AssertionError) -> Exception:
    words = r"(?:unexpected keyword argument|multiple values for keyword argument) '(\w+)'"
    match = re.search(words, str(error))
    stride = spec.arguments.get("output_stride")
    if match is None and isinstance(error, AssertionError) and stride is not None:
        return ValueError(
            f"{spec.architecture!r} can't be dilated to output_stride {stride!r} (networks that "
            f"can be, such as resnet50, efficientnet_b0 and convnext_tiny, take 8, 16 or 32); "
            f"leave it out"
        )
    if match is None or match[1] not in spec.arguments:
        return ValueError(
            f"backbone {spec.name!r} doesn't take these creation arguments "
            f"({dict(spec.arguments)}): {_first_line(error)}; leave out what you gave"
            f"{_size_advice(spec)}"
        )
    return ValueError(
        f"{spec.architecture!r} doesn't take the creation argument {match[1]!r}; leave it out, or "
        f"choose an architecture that does (input size and cropping are options of their own: "
        f"image_size, crop_pct, crop_mode)"
    )


def _size_advice(spec: BackboneSpec) -> str:
    """What to give where the image size may be at fault."""
    size = spec.arguments.get("img_size")
    if size is None or not all(isinstance(side, int) for side in size):
        return ""
    height, width = (max(32, 32 * round(side / 32)) for side in size)
    if [height, width] == list(size):
        return ""
    return f", or give an image_size of multiples of 32, such as {(height, width)}"


def _create_stages(spec: BackboneSpec, full: nn.Module, indices: list[int]) -> nn.Module:
    """Create timm's ``features_only`` network with the full network's weights.

    timm loads such a network without checking that every weight was found, and draws
    other random weights for it; handing over the weights of the strictly loaded full
    network settles both.
    """
    # The full network's first layer has the number of channels already.
    size = (spec.preprocess.in_chans, *spec.preprocess.image_size)
    cfg = {**spec.loading["pretrained_cfg"], "state_dict": full.state_dict(), "source": None}
    cfg["input_size"] = size
    arguments = {k: v for k, v in spec.arguments.items() if k != "num_classes"}
    # It would warn of the head's weights, which a features_only network has no use for.
    with torch.random.fork_rng(devices=[]), quiet("timm.models._builder"):
        network = timm.create_model(
            spec.architecture,
            pretrained=True,
            pretrained_cfg=cfg,
            features_only=True,
            out_indices=tuple(indices),
            **arguments,
        )
    for module in network.modules():  # timm keeps what it was made from: a copy of all weights
        for attribute in ("pretrained_cfg", "default_cfg"):
            if isinstance(getattr(module, attribute, None), dict):
                setattr(module, attribute, {})
    assert isinstance(network, nn.Module)
    return network


def _is_stages_only(full: nn.Module, layers: tuple[str, ...]) -> bool:
    """Whether timm's ``features_only`` network, which gives no tokens, has these layers."""
    are_stages = all(re.fullmatch(r"(stage|block)\d+", layer) for layer in layers)
    return are_stages and not n_prefix_tokens(full)


def _first_line(error: BaseException, length: int = 200) -> str:
    text = " ".join(str(error).split()) or type(error).__name__  # asserts often say nothing
    return text[:length] + ("…" if len(text) > length else "")


# ---- what there is ------------------------------------------------------------------


def search(pattern: str, details: int) -> list[BackboneInfo]:
    """Find architectures by name, and describe them without weights."""
    glob = pattern if set(pattern) & set("*?[") else f"*{pattern}*"
    wanted, _, tag = glob.partition(".")
    names = [n for n in timm.list_models() if fnmatch.fnmatchcase(n, wanted)]
    if tag:
        names = [n for n in names if fnmatch.filter(_tags(n), tag)]
    if pattern.partition(".")[0] in names:
        names = [pattern.partition(".")[0]]
    described = len(names) <= details
    return [_info(name, described) for name in names]


def _tags(name: str) -> tuple[str, ...]:
    cfgs = timm.models.get_arch_pretrained_cfgs(name)
    return tuple(n.partition(".")[2] for n, cfg in cfgs.items() if cfg.has_weights)


def _info(name: str, described: bool) -> BackboneInfo:
    height, width = timm.models.get_pretrained_cfg(name).input_size[-2:]
    if not described:
        return BackboneInfo(name, _tags(name), (height, width), None, None, {})
    return describe(name, (height, width))


def describe(name: str, image_size: tuple[int, int], **arguments: Any) -> BackboneInfo:
    """An architecture described without weights: parameters, multiply-adds, layers."""
    with torch.device("meta"):
        network = timm.create_model(name, pretrained=False, **arguments).eval()
    try:
        layers = layer_infos(network)
    except ValueError:
        layers = {}
    n_parameters = sum(p.numel() for p in network.parameters())
    gmacs = gmacs_of(network, image_size)
    return BackboneInfo(name, _tags(name), image_size, n_parameters, gmacs, layers)
