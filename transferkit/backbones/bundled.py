"""Small backbones that come with the package, so that nothing is downloaded.

One entry is two files of ``weights/``: ``NAME.safetensors``, and its model card ``NAME.json``
with the timm architecture, its creation arguments and preprocessing, and what the weights
were trained on.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.backbones import BackboneInfo, Overrides, timm
from transferkit.registry import unknown
from transferkit.spec import BackboneSpec

__all__ = ["EXAMPLE", "build", "card", "layers", "names", "resolve", "search"]

EXAMPLE = "bundled"

# The networks that are resolved here are timm's.
build = timm.build
layers = timm.layers

_FOLDER = Path(__file__).parent / "weights"
_TAG = "bundled"


def names() -> list[str]:
    """Names of the bundled backbones, without ``bundled:``."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def card(name: str) -> dict[str, Any]:
    """Model card of a bundled backbone: what it is, what it was trained on, its licence.

    Parameters
    ----------
    name : str
        With or without ``bundled:``.

    Raises
    ------
    ValueError
        If there is none of that name.

    Examples
    --------
    >>> card("mobilenetv2_050_distilled")["architecture"]
    'mobilenetv2_050'
    """
    name = name.removeprefix("bundled:")
    if name not in names():
        raise unknown("bundled backbone", name, names())
    read = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert isinstance(read, dict)
    return read


def resolve(
    name: str,
    *,
    pretrained: bool,
    weights: Path | None,
    seed: int,
    overrides: Overrides,
    arguments: Mapping[str, Any],
) -> BackboneSpec:
    """Resolve a bundled name to everything that decides the numbers. Without a name, the first."""
    name = name or names()[0]
    known = card(name)
    if pretrained and weights is None:
        weights = _FOLDER / f"{name}.safetensors"
    if overrides.in_chans in (None, 3):
        overrides = overrides.with_defaults(mean=tuple(known["mean"]), std=tuple(known["std"]))
    spec = timm.resolve(
        known["architecture"],
        pretrained=weights is not None,
        weights=weights,
        seed=seed,
        overrides=overrides.with_defaults(
            image_size=_size(known),
            **{word: known[word] for word in ("interpolation", "crop_pct", "crop_mode")},
        ),
        arguments={**known["arguments"], **arguments},
    )
    loading = dict(spec.loading)
    if spec.weights == f"sha256:{known['weights_sha256']}":
        loading["licence"] = known["licence"]
    return dataclasses.replace(spec, name=f"bundled:{name}", loading=loading)


def _size(known: Mapping[str, Any]) -> tuple[int, int]:
    _, height, width = known["input_size"]
    return int(height), int(width)


def search(pattern: str, details: int) -> list[BackboneInfo]:
    """Find bundled backbones by name."""
    glob = pattern if set(pattern) & set("*?[") else f"*{pattern}*"
    found = [name for name in names() if fnmatch.fnmatchcase(f"bundled:{name}", glob)]
    return [_info(name, len(found) <= details) for name in found]


def _info(name: str, described: bool) -> BackboneInfo:
    known = card(name)
    size = _size(known)
    if not described:
        return BackboneInfo(f"bundled:{name}", (_TAG,), size, None, None, {})
    info = timm.describe(known["architecture"], size, **known["arguments"])
    return dataclasses.replace(info, name=f"bundled:{name}", tags=(_TAG,))
