"""``backbone/``: local weights, and the options that resolve the same backbone again."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.backbones import resolve_backbone
from transferkit.spec import BackboneSpec, Preprocess

__all__ = ["load_backbone", "save_backbone"]

_OVERRIDES = ("image_size", "crop_pct", "crop_mode", "interpolation", "exif", "decode")


def save_backbone(folder: Path, spec: BackboneSpec, include: bool | None) -> dict[str, Any]:
    """Copy the weights into a model's folder, if they go along.

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
        "preprocess": dataclasses.asdict(spec.preprocess),
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
    """Resolve the backbone of a model's folder from the options that `save_backbone` gave."""
    preprocess = Preprocess.from_dict(options["preprocess"])
    name = options["name"]
    if name == "local-dir:backbone":
        name = f"local-dir:{folder / 'backbone'}"
    weights = options.get("weights")
    arguments = dict(options["arguments"])
    overrides = {key: getattr(preprocess, key) for key in _OVERRIDES}
    if "img_size" in arguments:  # one thing, said once: image_size sets it
        arguments.pop("img_size")
    return resolve_backbone(
        name,
        options["pretrained"],
        weights=None if weights is None else folder / weights,
        seed=options.get("seed", 0),
        **overrides,
        **arguments,
    )
