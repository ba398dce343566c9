"""The cells of detection: every head on the maps of a backbone."""

from __future__ import annotations

import inspect

from transferkit.backbones import layers_of
from transferkit.benchmark.grid import Cell, Want
from transferkit.benchmark.segmentation_grid import PYRAMID, MapCell, seeded
from transferkit.dense.detection import create_detection_head, default_neck
from transferkit.dense.pyramid import pyramid_layers
from transferkit.dense.recipe import DetectionRecipe
from transferkit.estimators import TransferDetector
from transferkit.spec import BackboneSpec

__all__ = ["DetectionCell", "detection_cells", "object_features"]

# Raise this when a detection head or its training computes other numbers from the same settings,
# so that its cells are measured again.
VERSION = 1


class DetectionCell(MapCell):
    """One number to measure: a detection head on some maps, for some images and a seed.

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
        return object_features(feature, spec)

    def published(self) -> None:
        """None: there is no published protocol of detection here."""

    def n_views(self) -> int:
        """How many views of a training image are extracted, at most."""
        recipe = DetectionRecipe()
        return (1 + recipe.mirrored) * (3 if recipe.zoomed else 1)

    def _settings(self) -> str:
        """All settings that a head is trained with, as a text for the key."""
        head = inspect.signature(type(create_detection_head(self.probe, [8] * 3, [8, 16, 32], 2)))
        options = {
            name: p.default for name, p in head.parameters.items() if p.default is not p.empty
        }
        return repr([VERSION, "detection", options, default_neck(self.probe), DetectionRecipe()])


def object_features(feature: str, spec: BackboneSpec) -> list[str]:
    """Names of the maps that a feature stands for in detection, fine to coarse.

    Parameters
    ----------
    feature : str
        ``"pyramid"`` for the last layer of each of the strides that `TransferDetector` takes by
        default; or layers with ``+`` between them.
    spec : BackboneSpec
        The backbone.

    Examples
    --------
    >>> from transferkit.backbones import resolve_backbone
    >>> object_features("pyramid", resolve_backbone("resnet18", pretrained=False))
    ['stage2.map', 'stage3.map', 'stage4.map']
    """
    if feature == PYRAMID:
        layers = pyramid_layers(layers_of(spec), TransferDetector.strides)
    else:
        layers = tuple(name.strip().removesuffix(".map") for name in feature.split("+"))
    return [f"{layer}.map" for layer in layers]


def detection_cells(backbone: str, want: Want) -> list[Cell]:
    """All cells of one backbone on a dataset of boxes."""
    if "auto" in want.features:
        raise ValueError(
            "features 'auto' are chosen for vectors; for detection name 'pyramid', or layers as in "
            "stage2+stage3"
        )
    return [
        cell
        for head in want.heads
        for feature in want.features or (PYRAMID,)
        for cell in seeded(DetectionCell, backbone, head, "head", feature, want)
    ]
