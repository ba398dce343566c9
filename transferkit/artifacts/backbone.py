"""The folder ``backbone/`` of a model: local weights, and options that resolve the backbone."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.backbones import hub_snapshot, resolve_backbone
from transferkit.spec import BackboneSpec, Preprocess

__all__ = ["load_backbone", "save_backbone"]

_OVERRIDES = (
    *("image_size", "crop_pct", "crop_mode", "interpolation", "exif", "decode"),
    *("in_chans", "mean", "std", "value_range", "window", "bands", "layout"),
)


def save_backbone(folder: Path, spec: BackboneSpec, include: bool | None) -> dict[str, Any]:
    """Copy the weights into a model's folder, if they are to be included.

    Parameters
    ----------
    folder : Path
        The model's.
    spec : BackboneSpec
        The backbone.
    include : bool or None
        Whether the weights go along; None: if they came from a local file.

    Returns
    -------
    dict
        The options that resolve the same backbone again, as values that JSON takes.
    """
    options: dict[str, Any] = {
        "name": spec.name,
        "pretrained": not spec.is_random,
        "arguments": dict(spec.arguments),
        "preprocess": spec.preprocess.to_dict(),
    }
    if spec.is_random:
        return options | {"seed": int(spec.weights.removeprefix("random:"))}
    weights = Path(spec.weights_path)
    cfg = spec.loading.get("pretrained_cfg", {})
    if cfg.get("source") == "local-dir":
        origin = Path(str(cfg["file"])).absolute()
        if include is False:
            return options | {"name": f"local-dir:{origin}"}
        (folder / "backbone").mkdir()
        shutil.copyfile(weights, folder / "backbone" / weights.name)
        shutil.copyfile(origin / "config.json", folder / "backbone" / "config.json")
        return options | {"name": "local-dir:backbone"}
    is_local = bool(spec.loading.get("weights_given"))
    if include is False and is_local:
        return options | {"weights": str(weights)}
    if include or is_local:
        (folder / "backbone").mkdir()
        name = f"weights{weights.suffix}"
        shutil.copyfile(weights, folder / "backbone" / name)
        return options | {"weights": f"backbone/{name}"}
    return options


def load_backbone(folder: Path, options: Mapping[str, Any]) -> BackboneSpec:
    """Resolve the backbone of a model's folder from the options that `save_backbone` returned."""
    preprocess = Preprocess.from_dict(options["preprocess"])
    name = options["name"]
    if not isinstance(name, str):
        raise TypeError(f"the backbone's name is {name!r}")
    if name == "local-dir:backbone":
        name = f"local-dir:{folder / 'backbone'}"
    name = _here(folder, name)
    weights = options.get("weights")
    arguments = dict(options["arguments"])
    overrides = {key: getattr(preprocess, key) for key in _OVERRIDES}
    if "img_size" in arguments:  # one thing, said once: image_size sets it
        arguments.pop("img_size")
    arguments.pop("in_chans", None)  # likewise: it is the length of mean
    spec = resolve_backbone(
        name,
        options["pretrained"],
        weights=None if weights is None else folder / weights,
        seed=options.get("seed", 0),
        **overrides,
        **arguments,
    )
    is_own = name.startswith("local-dir:") and not options["name"].startswith("local-dir:")
    return dataclasses.replace(spec, name=options["name"]) if is_own else spec


def _here(folder: Path, name: str) -> str:
    """Name of a hub's backbone on this machine.

    A model's folder may come from a stranger. timm's own names lead to the addresses in timm's
    table. An address that the folder itself names is never visited without the user's consent.
    """
    if name.partition(":")[0].lower().replace("_", "-") != "hf-hub":
        return name
    snapshot = hub_snapshot(name)
    if snapshot is None:
        raise ValueError(
            f"model {str(folder)!r} wants the weights of {name!r}, which aren't on this machine, "
            f"and a model's folder is no reason to fetch them; if you trust the place, fetch them "
            f"with `transferkit extract IMAGES --backbone {name}`, then load the model again"
        )
    return f"local-dir:{snapshot}"
