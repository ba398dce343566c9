"""Write the tuned network as a backbone like any other: a folder in timm's layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from transferkit.backbones import resolve_backbone
from transferkit.backbones.timm import folder_config
from transferkit.files import write_whole
from transferkit.finetune.strategies import merge_adapters
from transferkit.spec import BackboneSpec, canonical_json

__all__ = ["resolve_tuned", "whole_weights", "write_backbone"]

WEIGHTS = "model.safetensors"
# What a folder in timm's layout doesn't tell of the preprocessing.
_OF_IMAGES = ("exif", "decode", "value_range", "window", "bands", "layout")


def whole_weights(body: nn.Module, before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State of the whole body after training, with adapters merged into what they adapt.

    Parameters
    ----------
    body : nn.Module
        Trained; its adapters are removed.
    before : mapping of str to Tensor
        The whole body's state before, from `build_network`: what stood below a cut is not in the
        body any more, and stayed as it was.
    """
    merge_adapters(body)
    whole = {**before, **body.state_dict()}
    assert whole.keys() == before.keys()
    return whole


def write_backbone(folder: Path, spec: BackboneSpec, weights: Mapping[str, Tensor]) -> None:
    """Write tuned weights.

    Parameters
    ----------
    folder : Path
        Gets ``model.safetensors`` and, for timm's networks, ``config.json``: the layout that
        timm loads as ``local-dir:FOLDER``.
    spec : BackboneSpec
        What was tuned.
    weights : mapping of str to Tensor
        The whole body's state.

    Raises
    ------
    OSError
        If the folder can't be written to.
    """
    # A backbone's body holds the source's own network, whose names the file has.
    plain = {n.removeprefix("network."): t.detach().cpu().contiguous() for n, t in weights.items()}
    write_whole(folder / WEIGHTS, [save(plain)])
    if spec.source == "timm":
        write_whole(folder / "config.json", [json.dumps(folder_config(spec), indent=2).encode()])


def resolve_tuned(folder: Path, spec: BackboneSpec) -> BackboneSpec:
    """Resolve the backbone with tuned weights.

    Parameters
    ----------
    folder : Path
        That `write_backbone` wrote.
    spec : BackboneSpec
        What was tuned.

    Returns
    -------
    BackboneSpec
        The same architecture, arguments and preprocessing, with the new weights' digest.
    """
    preprocess = spec.preprocess
    if spec.source != "timm":
        own = (
            *("image_size", "interpolation", "crop_pct", "crop_mode", "mean", "std"),
            *_OF_IMAGES,
        )
        return resolve_backbone(
            spec.name,
            weights=folder / WEIGHTS,
            **{name: getattr(preprocess, name) for name in own},
            **spec.arguments,
        )
    size = preprocess.image_size if "img_size" in spec.arguments else None
    of_images = {name: getattr(preprocess, name) for name in _OF_IMAGES}
    tuned = resolve_backbone(f"local-dir:{folder}", image_size=size, **of_images)
    same = (tuned.architecture, canonical_json(tuned.arguments), tuned.preprocess)
    if same != (spec.architecture, canonical_json(spec.arguments), preprocess):
        raise RuntimeError(
            f"the tuned {spec.name!r} would be another network when it is loaded "
            f"({tuned.to_json()}); its weights are in {str(folder)!r}"
        )
    return tuned
