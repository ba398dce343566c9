"""The grid of cells: every probe on every feature of a backbone, for each number of shots."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from transferkit.backbones import resolve_backbone, search_backbones
from transferkit.heads import create_head, describe
from transferkit.protocols import create_protocol, protocol_names
from transferkit.protocols.segmentation import (
    create_segmentation_protocol,
    segmentation_protocol_names,
)
from transferkit.spec import BackboneSpec, canonical_json
from transferkit.tasks import dense

__all__ = [
    "Cell",
    "Want",
    "cells_of",
    "check_protocols",
    "default_heads",
    "default_protocols",
    "named_backbones",
    "resolved",
]

# Raise this when a head computes other numbers from the same parameters, so that its cells are
# measured again.
HEADS_VERSION = 2


@dataclass(frozen=True)
class Want:
    """The probes, features, shots and seeds that a benchmark is asked to measure.

    Parameters
    ----------
    protocols, heads : tuple of str
        Probes by name.
    features : tuple of str
        Feature names that replace the protocols' own. ``("auto",)`` chooses a layer on the
        validation part. Empty means the protocols' own features, and ``pre_logits`` for heads.
    shots : tuple of int or None
        Images per class, None for all. Empty means the shots that each protocol publishes.
    seeds : int
        Number of seeds, for cells in which the seed changes something.
    geometry : dict
        Options of `resolve_backbone` that replace the protocols' geometry.
    """

    protocols: tuple[str, ...] = ("transfer-logreg",)
    heads: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    shots: tuple[int | None, ...] = ()
    seeds: int = 3
    geometry: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Cell:
    """One number to measure: a probe on a feature of a backbone, for some shots and a seed.

    Parameters
    ----------
    backbone : str
        As the user wrote it.
    probe, kind : str
        Name, and ``"protocol"`` or ``"head"``.
    feature : str
        Feature name, or ``"auto"``.
    shots : int or None
        Images per class; None for all.
    seed : int or None
        None if the seed changes nothing.
    """

    backbone: str
    probe: str
    kind: str
    feature: str
    shots: int | None
    seed: int | None

    def key(self, rows_digest: str, spec: BackboneSpec, numeric: dict[str, str]) -> str:
        """Digest of everything that decides the number."""
        feature = self.spec_key(
            "pre_logits" if self.feature == "auto" else self.feature, spec, numeric
        )
        facts = [rows_digest, feature, self.feature, self.kind, self.probe, self._settings()]
        text = canonical_json([*facts, self.shots, self.seed])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def spec_key(self, feature: str, spec: BackboneSpec, numeric: dict[str, str]) -> str:
        """Key of the rows of a feature."""
        return spec.feature_spec(feature, **numeric).key

    def published(self) -> Any:
        """Settings of the protocol; None for a head."""
        return create_protocol(self.probe).settings if self.kind == "protocol" else None

    def _settings(self) -> str:
        """All settings that a probe is trained with, as a text for the key."""
        settings = self.published()
        if settings is not None:
            # The class's name is left out, because renaming the class changes no number.
            values = (f"{f.name}={getattr(settings, f.name)!r}" for f in fields(settings))
            return f"Protocol({', '.join(values)})"
        heads = [create_head(self.probe, task) for task in describe(self.probe).tasks]
        return repr([HEADS_VERSION, *(head.get_params() for head in heads)])


def check_protocols(names: Sequence[str], task: str) -> None:
    """Say now what is wrong with the name of a protocol.

    Parameters
    ----------
    names : sequence of str
        Of protocols.
    task : str
        Of the datasets that are measured under them.

    Raises
    ------
    ValueError
        If there is none of a name, or it is another task's.
    """
    of_maps = segmentation_protocol_names()
    if _finds_objects(task) and names:
        raise ValueError(
            f"protocol {names[0]!r} isn't for {task}, of which no protocol is published whose "
            "backbone is frozen and which is short enough to be followed; name heads (--heads)"
        )
    for name in names:
        if task == "segmentation":
            if name in protocol_names():
                raise ValueError(
                    f"protocol {name!r} isn't for segmentation; use {', '.join(of_maps)}"
                )
            create_segmentation_protocol(name)
        elif name in of_maps:
            raise ValueError(f"protocol {name!r} is for --task segmentation, not {task}")
        else:
            create_protocol(name)


def default_protocols(task: str) -> tuple[str, ...]:
    """Protocols that a task's datasets are measured under if none is named.

    Examples
    --------
    >>> default_protocols("segmentation"), default_protocols("multilabel")
    (('dinov2-linear-seg-4k',), ('transfer-logreg',))
    """
    if _finds_objects(task):
        return ()
    return ("dinov2-linear-seg-4k",) if task == "segmentation" else ("transfer-logreg",)


def default_heads(task: str) -> tuple[str, ...]:
    """Heads that a task's datasets are measured with if neither head nor protocol is named.

    Examples
    --------
    >>> default_heads("detection"), default_heads("classification")
    (('faster-rcnn',), ())
    """
    return (dense.dense_task_of(task).default_head,) if _finds_objects(task) else ()


def _finds_objects(task: str) -> bool:
    return task in dense.names() and dense.dense_task_of(task).has_objects


def named_backbones(text: str) -> list[str]:
    """Read an option that names backbones: names with commas, a text file, or a timm pattern.

    ``NAME@random`` or ``NAME@random:SEED`` stands for random weights.
    """
    if text.endswith(".txt"):
        lines = (line.partition("#")[0].strip() for line in Path(text).read_text().splitlines())
        return [line for line in lines if line]
    if set(text) & set("*?["):
        found = [info.name for info in search_backbones(text, details=0)]
        if not found:
            raise ValueError(f"no backbone matches {text!r}; try `transferkit backbones PATTERN`")
        return found
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ValueError("no backbone was named; write --backbones resnet18,resnet50")
    return names


def resolved(name: str, options: dict[str, Any]) -> tuple[BackboneSpec, list[str]]:
    """Resolve a backbone in a protocol's geometry, and list its deviations from the protocol."""
    model, _, random = name.partition("@")
    weights: dict[str, Any] = {}
    if random:
        kind, _, seed = random.partition(":")
        if kind != "random" or (seed and not seed.isdigit()):
            raise ValueError(f"backbone {name!r}; write NAME@random or NAME@random:SEED")
        weights = {"pretrained": False, "seed": int(seed or 0)}
    own = resolve_backbone(model, **weights)
    size = options.get("image_size")
    if size is not None and own.loading.get("pretrained_cfg", {}).get("fixed_input_size"):
        kept = {k: v for k, v in options.items() if k != "image_size"}
        spec = resolve_backbone(model, **weights, **kept)
        wanted = (size, size) if isinstance(size, int) else tuple(size)
        is_other = spec.preprocess.image_size != wanted
        return spec, ["image_size"] if is_other else []
    return resolve_backbone(model, **weights, **options), []


def cells_of(backbone: str, want: Want, *, has_val: bool) -> list[Cell]:
    """All cells of one backbone on a dataset, without those that can't exist."""
    cells = []
    for kind, probes in (("protocol", want.protocols), ("head", want.heads)):
        for probe in probes:
            features = want.features or (_feature(kind, probe),)
            for feature in features:
                for shots in _shots(kind, probe, want):
                    is_drawn = shots is not None or _draws(kind, probe, has_val)
                    seeds: Sequence[int | None] = range(want.seeds) if is_drawn else (None,)
                    cells += [Cell(backbone, probe, kind, feature, shots, s) for s in seeds]
    return cells


def _feature(kind: str, probe: str) -> str:
    return str(create_protocol(probe).settings.feature) if kind == "protocol" else "pre_logits"


def _shots(kind: str, probe: str, want: Want) -> list[int | None]:
    settings = create_protocol(probe).settings if kind == "protocol" else None
    published = settings.shots if settings is not None else ()
    if not want.shots:
        return list(published) or [None]
    shots = list(want.shots)
    if published and any(s is not None for s in shots):
        shots = [s for s in shots if s is not None]
    if hasattr(settings, "share"):  # one image per class leaves nothing to choose by
        shots = [s for s in shots if s != 1]
    return shots


def _draws(kind: str, probe: str, has_val: bool) -> bool:
    """Whether a seed changes anything when all images are used."""
    if kind == "head":
        return "random_state" in create_head(probe).get_params()
    settings = create_protocol(probe).settings
    return bool(settings.draws) and not (has_val and hasattr(settings, "share"))
