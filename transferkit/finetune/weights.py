"""The tuned network as a backbone like any other: a folder in timm's layout, with its digest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from transferkit.backbones import resolve_backbone
from transferkit.backbones.timm import folder_config
from transferkit.files import write_whole
from transferkit.spec import BackboneSpec, canonical_json

__all__ = ["resolve_tuned", "write_backbone"]

WEIGHTS = "model.safetensors"


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
    """Resolve the backbone that tuned weights make.

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
        own = ("image_size", "interpolation", "crop_pct", "crop_mode", "exif", "decode")
        return resolve_backbone(
            spec.name,
            weights=folder / WEIGHTS,
            **{name: getattr(preprocess, name) for name in own},
            **spec.arguments,
        )
    size = preprocess.image_size if "img_size" in spec.arguments else None
    tuned = resolve_backbone(
        f"local-dir:{folder}", image_size=size, exif=preprocess.exif, decode=preprocess.decode
    )
    same = (tuned.architecture, canonical_json(tuned.arguments), tuned.preprocess)
    if same != (spec.architecture, canonical_json(spec.arguments), preprocess):
        raise RuntimeError(
            f"the tuned {spec.name!r} would be another network when it is loaded "
            f"({tuned.to_json()}); its weights are in {str(folder)!r}"
        )
    return tuned
