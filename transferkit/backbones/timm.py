"""Backbones from timm: all that is peculiar to timm stands here and nowhere else."""

from __future__ import annotations

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
from transferkit.registry import unknown
from transferkit.spec import BackboneSpec, Preprocess, canonical_json

__all__ = [
    "EXAMPLE",
    "build",
    "describe",
    "folder_config",
    "preprocess_config",
    "resolve",
    "search",
]

EXAMPLE = "test_resnet"

# Arguments of timm.create_model that are ours to give.
_RESERVED = (
    "features_only",
    "out_indices",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "in_chans",
    # They would change the weights behind the key's back.
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
    """Resolve a timm name into all that decides the numbers."""
    _check_arguments(arguments)
    cfg, architecture, kwargs, model_args = _from_timm(name, overrides, arguments)
    _check_config(name, kwargs)
    path: Path | None = None
    if pretrained or weights is not None:
        path = find_weights(name, cfg, weights)
        if weights is not None or cfg.get("source") == "local-dir":
            cfg["num_classes"] = n_classes_in(path, cfg)
        # timm would load weights that don't fit without a word if the numbers differed.
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
    """Refuse what a ``config.json`` may not decide: which weights are loaded, and from where."""
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
    if cfg["input_size"][0] != 3:
        raise ValueError(
            f"backbone {name!r} takes {cfg['input_size'][0]} channels; transferkit's images have "
            f"3 (RGB)"
        )
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
        "input_size": [3, *preprocess.image_size],
        "interpolation": preprocess.interpolation,
        "crop_pct": preprocess.crop_pct,
        "crop_mode": preprocess.crop_mode,
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
    }


def folder_config(spec: BackboneSpec) -> dict[str, Any]:
    """Content of timm's ``config.json``, which brings back the arguments and preprocessing."""
    drop = ("url", "hf_hub_id", "hf_hub_filename", "source", "file", "state_dict", "custom_load")
    own = spec.loading["pretrained_cfg"]
    cfg = {name: value for name, value in own.items() if name not in drop and value is not None}
    n_classes = spec.arguments["num_classes"]
    cfg |= {**preprocess_config(spec.preprocess), "num_classes": n_classes}
    arguments = {n: v for n, v in spec.arguments.items() if n not in ("num_classes", "img_size")}
    return {
        "architecture": spec.architecture,
        "num_classes": n_classes,
        "pretrained_cfg": cfg,
        "model_args": arguments,
    }


# ---- a spec → a network -------------------------------------------------------------


def build(spec: BackboneSpec, *, layers: tuple[str, ...] | None) -> Backbone:
    """Build the network: with its head, or stages only when nothing else is wanted."""
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


def _create(spec: BackboneSpec, **more: Any) -> nn.Module:
    """Create the network through timm, strictly loaded; `more` adds creation arguments."""
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
    # timm draws random weights from the global generator: seeded here, put back after.
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
        f"weights and the creation arguments belong to this architecture"
    )


def _argument_error(spec: BackboneSpec, error: TypeError | AssertionError) -> Exception:
    match = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if match is None or match[1] not in spec.arguments:
        return ValueError(
            f"backbone {spec.name!r} doesn't take these creation arguments "
            f"({dict(spec.arguments)}): {_first_line(error)}"
        )
    return ValueError(
        f"{spec.architecture!r} doesn't take the creation argument {match[1]!r}; leave it out, or "
        f"choose an architecture that does (input size and cropping are options of their own: "
        f"image_size, crop_pct, crop_mode)"
    )


def _create_stages(spec: BackboneSpec, full: nn.Module, indices: list[int]) -> nn.Module:
    """Timm's ``features_only`` network with the full network's weights.

    timm loads such a network without checking that every weight was found, and draws
    other random weights for it; handing over the weights of the strictly loaded full
    network settles both.
    """
    cfg = {**spec.loading["pretrained_cfg"], "state_dict": full.state_dict(), "source": None}
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
    """Whether timm's ``features_only`` network gives these layers: it has no tokens."""
    are_stages = all(re.fullmatch(r"(stage|block)\d+", layer) for layer in layers)
    return are_stages and not n_prefix_tokens(full)


def _first_line(error: BaseException, length: int = 200) -> str:
    text = " ".join(str(error).split()) or type(error).__name__  # asserts often say nothing
    return text[:length] + ("…" if len(text) > length else "")


# ---- what there is ------------------------------------------------------------------


def search(pattern: str, details: int) -> list[BackboneInfo]:
    """Architectures whose name matches, described without weights."""
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
