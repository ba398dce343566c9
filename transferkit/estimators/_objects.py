"""Base class of the estimators that find objects: boxes, masks or oriented boxes."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from transferkit import artifacts
from transferkit.annotations import Annotations, AnnotationSet
from transferkit.backbones import Backbone
from transferkit.dense.detection import Suppression
from transferkit.dense.fitting import LoopOf
from transferkit.dense.kinds import ObjectKind, object_kind
from transferkit.dense.object_loop import create_object_loop, predicted_counts
from transferkit.dense.pyramid import pyramid_neck
from transferkit.dense.recipe import DenseRecipe, DetectionRecipe
from transferkit.dense.samples import DenseSamples, ObjectSamples
from transferkit.dense.tiles import merged
from transferkit.estimators._maps import Maps
from transferkit.estimators._network import NetworkEstimator
from transferkit.estimators._tiles import Box
from transferkit.estimators.extractor import FeatureExtractor
from transferkit.extract import View, mirrored, turned, zoomed
from transferkit.images import Frame, Tiling
from transferkit.registry import unknown
from transferkit.spec import BackboneSpec
from transferkit.store import FeatureStore
from transferkit.training import Samples

__all__ = ["ObjectEstimator"]

THRESHOLD = 0.5
"""Score from which on objects are shown, where no held-out images say a better one."""
_LEAST_LIMIT = 100
# The share of the objects that are called small.
_SMALL = 0.05


class ObjectEstimator(NetworkEstimator):
    """Base class: a neck and a head find objects on the maps of a frozen backbone.

    Tasks differ in the kind of their objects, and in what they tell and measure of them.
    """

    recipe_kind: ClassVar[type[DenseRecipe]] = DetectionRecipe
    strides = (8, 16, 32)
    # Maps of stride 4 are taken if small objects have a side below so many px of the input. With
    # them cells of 20 px were found twice as well, and training took three times as long.
    fine_below: ClassVar[float] = 32

    # Fields of `Suppression` that suit the task better than its defaults.
    usual_suppression: ClassVar[Mapping[str, Any]] = {}
    suppression: Mapping[str, Any] | None
    head_options: Mapping[str, Any] | None

    suppression_: Suppression
    threshold_: float

    def __init__(
        self,
        backbone: str | Backbone | BackboneSpec | FeatureExtractor,
        head: str | None = None,
        *,
        neck: str | None = None,
        features: str | Sequence[str] | None = None,
        image_size: int | tuple[int, int] | None = None,
        head_options: Mapping[str, Any] | None = None,
        neck_options: Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
        suppression: Mapping[str, Any] | None = None,
        tiles: Tiling | str | tuple[int, int] | None = None,
        store: FeatureStore | str | Path | bool | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        progress: bool = False,
        folder: str | Path | None = None,
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.neck = neck
        self.features = features
        self.image_size = image_size
        self.head_options = head_options
        self.neck_options = neck_options
        self.recipe = recipe
        self.suppression = suppression
        self.tiles = tiles
        self.store = store
        self.device = device
        self.batch_size = batch_size
        self.progress = progress
        self.folder = folder

    @property
    def kind(self) -> ObjectKind:
        """What the task makes of annotations and detections."""
        return object_kind(self.task_name)

    @property
    def _heads(self) -> Any:
        """Folder of the task's heads."""
        return importlib.import_module(self.task_.heads)

    # ---- fit ----

    # Side of small objects, as a share of the image's; None before annotations were looked at.
    _small_side: float | None = None

    def _look_at(self, annotations: AnnotationSet | None) -> None:
        sides = [
            np.sqrt(np.prod(one.boxes[:, 2:] - one.boxes[:, :2], axis=1) / np.prod(one.size))
            for one in annotations or ()
            if one.boxes is not None
        ]
        every = np.concatenate(sides) if sides else np.zeros(0)
        self._small_side = float(np.quantile(every, _SMALL)) if len(every) else None

    def _small_at(self, image_size: tuple[int, int]) -> float:
        """Side of small objects at an input size, px; infinite where it isn't known."""
        # Tiles show objects larger than the image does.
        if self._small_side is None or self.tiling_ is not None:
            return math.inf
        return self._small_side * math.sqrt(math.prod(image_size))

    def _strides_for(self, image_size: tuple[int, int]) -> tuple[int, ...]:
        is_fine = self._small_at(image_size) < self.fine_below
        return (4, *self.strides) if is_fine else self.strides

    def _default_neck(self) -> str:
        return str(self._heads.default_neck(self._head_name))

    def _views_of(self, extractor: FeatureExtractor, recipe: DetectionRecipe) -> list[View]:
        preprocess = extractor.resolve().preprocess
        views = [mirrored(preprocess)] if recipe.mirrored else []
        sides = (False, True) if recipe.mirrored else (False,)
        if recipe.zoomed:
            views += [
                zoomed(preprocess, way, is_mirrored=s) for way in ("out", "in") for s in sides
            ]
        if recipe.turned:
            views += [turned(preprocess, n, is_mirrored=s) for n in (1, 2, 3) for s in sides]
        return views

    def _samples_of(self, views: Sequence[Maps], annotations: AnnotationSet) -> ObjectSamples:
        size, kind = self.input_size_, self.kind
        # Files are read once, and not once for each view.
        objects = [kind.held(one) for one in annotations]
        targets = [
            [
                kind.target(objects[i], frame, size)
                for i, frame in zip(maps.image_of_rows, maps.frames, strict=True)
            ]
            for maps in views
        ]
        return ObjectSamples([maps.levels for maps in views], targets, views[0].image_of)

    def _loop(self, train: ObjectSamples) -> LoopOf:
        self.suppression_ = self._suppression(train)
        return functools.partial(
            create_object_loop,
            kind=self.kind,
            size=self.input_size_,
            n_classes=len(self.classes_),
            n_objects=train.n_objects,
            rule=self.suppression_,
        )

    def _suppression(self, train: ObjectSamples) -> Suppression:
        given = {
            "limit": max(_LEAST_LIMIT, 2 * train.most_objects),
            **self.usual_suppression,
            **(self.suppression or {}),
        }
        try:
            return Suppression(**given)
        except TypeError as error:
            known = [field.name for field in dataclasses.fields(Suppression)]
            wrong = next(name for name in given if name not in known)
            raise unknown("setting of suppression:", wrong, known) from error

    def _suited_head_options(self, train: ObjectSamples) -> Mapping[str, Any]:
        boxes = [t["boxes"][t["labels"] > 0].numpy() for t in train.objects[0]]
        levels = self._levels(self.extractor_)
        name = self._default_neck() if self.neck is None else self.neck
        neck = pyramid_neck(
            name,
            [level.channels for level in levels],
            [level.stride for level in levels],
            **(self.neck_options or {}),
        )
        suited = self._heads.suited_options(
            self._head_name,
            np.concatenate(boxes),
            neck.strides,
            self.input_size_,
            most=train.most_objects,
        )
        return {**suited, **(self.head_options or {})}

    def _settle(self, held: DenseSamples | None) -> None:
        self._choose_threshold(self.network_, held)

    def _choose_threshold(self, network: nn.Module, held: Samples | None) -> None:
        """Choose the score from which on boxes are believed, by what a network finds."""
        self.threshold_ = THRESHOLD
        if held is None:
            return
        counts = predicted_counts(
            network, held, self.input_size_, len(self.classes_), self.suppression_, self.kind
        )
        if counts.best is not None:
            self.threshold_ = round(counts.best.threshold, 4)

    # ---- predict and measure ----

    def _annotated(
        self, levels: list[Tensor], frames: list[Frame], sizes: list[tuple[int, int]]
    ) -> list[Annotations]:
        network = self.network_.to(levels[0].device)
        found = network(levels, self.input_size_, None, self.suppression_)
        return [
            self.kind.found(found, i, frame, size)
            for i, (frame, size) in enumerate(zip(frames, sizes, strict=True))
        ]

    def _merged(
        self, found: Sequence[Annotations], boxes: Sequence[Box], size: tuple[int, int]
    ) -> Annotations:
        moved = [
            # Its size changes with it; a tile's px are as large as the image's.
            one.moved(Frame((1, 1), (left, top)), size)
            for one, (left, top, _, _) in zip(found, boxes, strict=True)
        ]
        return merged(moved, boxes, self.suppression_, self.kind)

    def believed(self, annotations: Annotations) -> Annotations:
        """Return the objects of which the score reaches ``threshold_``."""
        assert annotations.scores is not None
        return annotations.select(annotations.scores >= self.threshold_)

    def line(self, annotations: Annotations | None) -> dict[str, Any]:
        """Objects of which the score reaches ``threshold_``: of each class how many, and where."""
        names = self.classes_[1:]
        if annotations is None:
            return {"objects": None, "count": dict.fromkeys(names), "boxes": None}
        sure = self.believed(annotations)
        assert sure.labels is not None
        assert sure.scores is not None
        counts = np.bincount(sure.labels, minlength=len(self.classes_))[1:].tolist()
        boxes = [
            {"label": self.classes_[label], "score": round(score, 4), **place}
            for label, score, place in zip(
                sure.labels.tolist(), sure.scores.tolist(), self._places(sure), strict=True
            )
        ]
        return {
            "objects": len(boxes),
            "count": dict(zip(names, counts, strict=True)),
            "boxes": boxes,
        }

    def _places(self, objects: Annotations) -> list[dict[str, Any]]:
        """Where each object is, in values that JSON takes, px."""
        assert objects.boxes is not None
        return [{"box": box} for box in np.round(objects.boxes, 2).tolist()]

    @property
    def output_names_(self) -> np.ndarray:
        """Names of the classes, without the background."""
        return np.array(self.classes_[1:])

    def score(self, images: Any, annotations: Any = None) -> float:
        """Average precision of the predictions, the mean over overlaps from 0.5 to 0.95.

        Parameters
        ----------
        images, annotations
            As for `fit`.
        """
        value = self.measure(images, annotations).value("average_precision")
        return float("nan") if value is None else value

    # ---- files ----

    def _head_to_save(self) -> artifacts.ModuleHead:
        head = super()._head_to_save()
        own = {"suppression": dataclasses.asdict(self.suppression_), "threshold": self.threshold_}
        return dataclasses.replace(head, arguments={**head.arguments, **own})

    def _restore(self, head: artifacts.ModuleHead) -> None:
        arguments = dict(head.arguments)
        self.suppression_ = Suppression(**arguments.pop("suppression"))
        self.threshold_ = float(arguments.pop("threshold"))
        super()._restore(dataclasses.replace(head, arguments=arguments))
        self.suppression = dataclasses.asdict(self.suppression_)
