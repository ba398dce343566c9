"""The cells of tasks that find objects: every head on the maps of a backbone."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass

from transferkit import registry
from transferkit.backbones import layers_of
from transferkit.benchmark.grid import Cell, Want
from transferkit.benchmark.segmentation_grid import PYRAMID, MapCell, seeded
from transferkit.dense.pyramid import pyramid_layers
from transferkit.estimators import dense_estimator_of
from transferkit.spec import BackboneSpec
from transferkit.tasks.dense import dense_task_of

__all__ = ["ObjectCell", "object_cells", "object_features"]

# Raise this when a head or its training computes other numbers from the same settings,
# so that its cells are measured again.
VERSION = 1


@dataclass(frozen=True)
class ObjectCell(MapCell):
    """One number to measure: a head that finds objects on some maps, for some images and a seed.

    Parameters
    ----------
    backbone, probe, kind, seed
        As for `Cell`.
    feature : str
        ``"pyramid"``, or layers with ``+`` between them, fine to coarse.
    shots : int or None
        Training images in all; None for all there are.
    task : str
        One that finds objects.
    """

    task: str = "detection"

    def maps_of(self, feature: str, spec: BackboneSpec) -> list[str]:
        """Names of the maps that a feature stands for, fine to coarse."""
        return object_features(feature, spec, self.task)

    def published(self) -> None:
        """None: there is no published protocol of these tasks here."""

    def n_views(self) -> int:
        """How many views of a training image are extracted, at most."""
        recipe = dense_estimator_of(self.task).recipe_kind()
        return int((1 + recipe.mirrored) * (1 + 2 * recipe.zoomed + 3 * recipe.turned))

    def _settings(self) -> str:
        """All settings that a head is trained with, as a text for the key."""
        module = registry.load(dense_task_of(self.task).heads, self.probe, f"head of {self.task}")
        head = inspect.signature(module.Head)
        options = {
            name: p.default for name, p in head.parameters.items() if p.default is not p.empty
        }
        recipe = dense_estimator_of(self.task).recipe_kind()
        return repr([VERSION, self.task, options, module.NECK, recipe])


def object_features(feature: str, spec: BackboneSpec, task: str) -> list[str]:
    """Names of the maps that a feature stands for, fine to coarse.

    Parameters
    ----------
    feature : str
        ``"pyramid"`` for the last layer of each of the strides that the task's estimator takes
        by default; or layers with ``+`` between them.
    spec : BackboneSpec
        The backbone.
    task : str
        One that finds objects.

    Examples
    --------
    >>> from transferkit.backbones import resolve_backbone
    >>> spec = resolve_backbone("resnet18", pretrained=False)
    >>> object_features("pyramid", spec, "detection")
    ['stage2.map', 'stage3.map', 'stage4.map']
    """
    if feature == PYRAMID:
        layers = pyramid_layers(layers_of(spec), dense_estimator_of(task).strides)
    else:
        layers = tuple(name.strip().removesuffix(".map") for name in feature.split("+"))
    return [f"{layer}.map" for layer in layers]


def object_cells(backbone: str, want: Want, task: str) -> list[Cell]:
    """All cells of one backbone on a dataset of objects."""
    if "auto" in want.features:
        raise ValueError(
            f"features 'auto' are chosen for vectors; for {task} name 'pyramid', or layers as in "
            "stage2+stage3"
        )
    make = functools.partial(ObjectCell, task=task)
    return [
        one
        for head in want.heads
        for feature in want.features or (PYRAMID,)
        for one in seeded(make, backbone, head, "head", feature, want)
    ]
