"""The cells of segmentation: every protocol and head on the maps of a backbone."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from transferkit.backbones import layers_of
from transferkit.benchmark.data import AnnotatedDataset
from transferkit.benchmark.grid import Cell, Want, resolved
from transferkit.dense.pyramid import pyramid_layers
from transferkit.dense.recipe import SegmentationRecipe
from transferkit.dense.segmentation import create_segmentation_head, default_neck
from transferkit.estimators import FeatureExtractor, dense_estimator_of, suited_size
from transferkit.protocols.segmentation import create_segmentation_protocol
from transferkit.spec import BackboneSpec

__all__ = [
    "PYRAMID",
    "MapCell",
    "SegmentationCell",
    "head_geometry",
    "map_features",
    "seeded",
    "segmentation_cells",
]

PYRAMID = "pyramid"
"""Feature that stands for the last layer of each stride from 4 to 32 px."""

# Raise this when a segmentation head or its training computes other numbers from the same
# settings, so that its cells are measured again.
VERSION = 1


class MapCell(Cell, abc.ABC):
    """A cell whose feature is several maps."""

    @abc.abstractmethod
    def maps_of(self, feature: str, spec: BackboneSpec) -> list[str]:
        """Names of the maps that a feature stands for, fine to coarse."""

    @abc.abstractmethod
    def n_views(self) -> int:
        """How many views of a training image are extracted, at most."""

    def spec_key(self, feature: str, spec: BackboneSpec, numeric: dict[str, str]) -> str:
        """Keys of the maps of a feature."""
        names = self.maps_of(feature, spec)
        return "+".join(spec.feature_spec(name, **numeric).key for name in names)


class SegmentationCell(MapCell):
    """One number to measure: a probe on some maps of a backbone, for some images and a seed.

    Parameters
    ----------
    backbone, probe, kind, seed
        As for `Cell`.
    feature : str
        ``"pyramid"``, or layers with ``+`` between them, fine to coarse.
    shots : int or None
        Training images in all; None for all there are.
    """

    def maps_of(self, feature: str, spec: BackboneSpec) -> list[str]:
        """Names of the maps that a feature stands for, fine to coarse."""
        return map_features(feature, spec)

    def published(self) -> Any:
        """Settings of the protocol; None for a head."""
        if self.kind != "protocol":
            return None
        return create_segmentation_protocol(self.probe).settings

    def n_views(self) -> int:
        """How many views of a training image are extracted: the image, and its mirror image."""
        settings = self.published()
        return 1 + bool((SegmentationRecipe() if settings is None else settings).mirrored)

    def _settings(self) -> str:
        """All settings that a probe is trained with, as a text for the key."""
        if self.kind == "protocol":
            return super()._settings()
        head = inspect.signature(
            type(create_segmentation_head(self.probe, [8] * 4, [4, 8, 16, 32], 2))
        )
        options = {
            name: p.default for name, p in head.parameters.items() if p.default is not p.empty
        }
        neck = default_neck(self.probe)
        return repr([VERSION, "segmentation", options, neck, SegmentationRecipe()])


def map_features(feature: str, spec: BackboneSpec) -> list[str]:
    """Names of the maps that a feature stands for, fine to coarse.

    Parameters
    ----------
    feature : str
        As for `SegmentationCell`.
    spec : BackboneSpec
        The backbone.

    Examples
    --------
    >>> from transferkit.backbones import resolve_backbone
    >>> spec = resolve_backbone("resnet18", pretrained=False)
    >>> map_features("pyramid", spec)
    ['stage1.map', 'stage2.map', 'stage3.map', 'stage4.map']
    >>> map_features("stage2+final", spec)
    ['stage2.map', 'final.map']
    """
    if feature == PYRAMID:
        return [f"{layer}.map" for layer in pyramid_layers(layers_of(spec))]
    layers = [name.strip().removesuffix(".map") for name in feature.split("+")]
    return [f"{layer}.map" for layer in layers]


def head_geometry(backbone: str, dataset: AnnotatedDataset) -> dict[str, Any]:
    """Geometry of heads, as estimators have it: the whole image, at a size near the images' own.

    Parameters
    ----------
    backbone : str
        As the user wrote it.
    dataset : AnnotatedDataset
        Whose images' sizes count.
    """
    crop_mode = dense_estimator_of(dataset.task).crop_mode
    whole: dict[str, Any] = {"crop_mode": crop_mode, "crop_pct": 1.0}
    spec, _ = resolved(backbone, whole)
    return {**whole, "image_size": suited_size(FeatureExtractor(spec), dataset.images)}


def segmentation_cells(backbone: str, want: Want) -> list[Cell]:
    """All cells of one backbone on a dataset of masks."""
    cells: list[Cell] = []
    for kind, probes in (("protocol", want.protocols), ("head", want.heads)):
        for probe in probes:
            own = PYRAMID
            if kind == "protocol":
                own = create_segmentation_protocol(probe).settings.feature
            for feature in want.features or (own,):
                if feature == "auto":
                    raise ValueError(
                        "features 'auto' are chosen for vectors; for segmentation name 'pyramid', "
                        "or layers as in stage2+stage3"
                    )
                cells += seeded(SegmentationCell, backbone, probe, kind, feature, want)
    return cells


def seeded(
    cell: Callable[..., Cell], backbone: str, probe: str, kind: str, feature: str, want: Want
) -> list[Cell]:
    """Make a cell for each number of images and seed: the start of every head is drawn."""
    shots: Sequence[int | None] = want.shots or (None,)
    return [
        cell(backbone, probe, kind, feature, n, seed) for n in shots for seed in range(want.seeds)
    ]
