"""`TransferDetector` trains a neck and a detection head on the maps of a frozen backbone."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from transferkit import artifacts
from transferkit.annotations import Annotations, AnnotationSet
from transferkit.backbones import Backbone
from transferkit.dense.detection import (
    Detections,
    Suppression,
    default_neck,
    suited_options,
    suppressed,
)
from transferkit.dense.detection_loop import create_detection_loop, predicted_counts
from transferkit.dense.fitting import LoopOf
from transferkit.dense.network import DetectionNetwork
from transferkit.dense.pyramid import pyramid_neck
from transferkit.dense.recipe import DetectionRecipe
from transferkit.dense.samples import DenseSamples, ObjectSamples
from transferkit.dense.targets import object_target
from transferkit.dense.tiles import merged
from transferkit.estimators._maps import Maps
from transferkit.estimators._network import NetworkEstimator
from transferkit.estimators._tiles import Box
from transferkit.estimators.extractor import FeatureExtractor
from transferkit.extract import View, mirrored, zoomed
from transferkit.images import Frame, Tiling
from transferkit.metrics import DetectionReport, detection_report
from transferkit.registry import unknown
from transferkit.spec import BackboneSpec
from transferkit.store import FeatureStore
from transferkit.training import Samples

__all__ = ["TransferDetector"]

THRESHOLD = 0.5
"""Score from which on boxes are shown, where no held-out images say a better one."""
_LEAST_LIMIT = 100
# Maps of stride 4 are taken if this share of the objects has a side below so many px of the input.
# With them cells of 20 px were found twice as well, and training took three times as long.
_SMALL, _FINE = 0.05, 32


class TransferDetector(NetworkEstimator):
    """Find objects with a neck and a head that are trained on a frozen backbone's maps.

    The network runs once over each image, and over its mirror image and zoomed ones for
    training; then the head trains on the stored maps.

    Parameters
    ----------
    backbone : str, Backbone, BackboneSpec or FeatureExtractor
        As for `FeatureExtractor`. One that is given by name sees the whole image, squashed to
        its input size, and its maps are stored as float16.
    head : str, default="faster-rcnn"
        One of `transferkit.dense.detection.detection_heads`.
    neck : str, optional
        One of `transferkit.necks.neck_names`; by default the one that suits the head.
    features : str or sequence of str, optional
        Layers whose maps are taken, fine to coarse, such as ``"stage2,stage3"``; by default the
        last of each stride from 8 to 32 px, and from 4 px where objects are small.
    image_size : int or (int, int), optional
        Height and width of the network's input, px, of a backbone that is given by name; by
        default near the images' median size, with a longer side of 256 to 512.
    head_options, neck_options : mapping, optional
        Options of the head and the neck, such as ``{"width": 128}``. Those of the head that
        aren't given suit the boxes of the training images, such as the sizes of its anchors.
    recipe : mapping, optional
        Fields of `transferkit.dense.recipe.DetectionRecipe`, such as ``{"epochs": 20}``.
    suppression : mapping, optional
        Fields of `transferkit.dense.detection.Suppression`, such as ``{"method": "soft"}``. The
        most boxes of an image are by default 100, or twice what the fullest training image has.
    tiles : str or (int, int), optional
        Cuts large images into overlapping tiles, in which small objects are large enough:
        ``"2x3"`` (rows and columns) or their height and width in px, such as ``"512px"``; see
        `transferkit.images.Tiling`. Then `image_size` is that of a tile.
    store, device, batch_size, progress
        As for `FeatureExtractor`.
    folder : path, optional
        For checkpoint and curves of the training; by default they are not kept.

    Attributes
    ----------
    classes_ : tuple of str
        Names of the classes, by number; the first is the background.
    network_ : DetectionNetwork
        The trained neck and head.
    suppression_ : Suppression
        How its boxes are suppressed. Boxes of low scores are kept: see ``threshold_``.
    threshold_ : float
        Score from which on a box is to be believed: where F1 is highest on the images that
        chose the best epoch; 0.5 without such images.
    history_ : list of dict
        One line for each epoch.

    See Also
    --------
    read_annotations : Reads the boxes of files.
    TransferSegmenter : Finds the class of every pixel.

    Examples
    --------
    >>> import numpy as np
    >>> from transferkit.annotations import Annotations
    >>> images = np.zeros((6, 64, 64, 3), dtype=np.uint8)
    >>> images[:, 16:48, 24:56] = 255  # a white square
    >>> square = np.array([[24.0, 16.0, 56.0, 48.0]])
    >>> truth = [Annotations((64, 64), boxes=square, labels=np.array([1]))] * 6
    >>> extractor = FeatureExtractor(
    ...     "resnet18", pretrained=False, image_size=64, crop_pct=1.0, store=False
    ... )
    >>> detector = TransferDetector(extractor, recipe={"epochs": 10, "zoomed": False})
    >>> detector.fit(images, truth).predict(images)[0].boxes.shape[1]
    4
    """

    task_name = "detection"
    network_kind = DetectionNetwork
    recipe_kind = DetectionRecipe
    strides = (8, 16, 32)

    def __init__(
        self,
        backbone: str | Backbone | BackboneSpec | FeatureExtractor,
        head: str = "faster-rcnn",
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

    def _strides_for(self, image_size: tuple[int, int]) -> tuple[int, ...]:
        # Tiles show objects larger than the image does.
        if self._small_side is None or self.tiling_ is not None:
            return self.strides
        side = self._small_side * float(np.sqrt(np.prod(image_size)))
        return (4, *self.strides) if side < _FINE else self.strides

    def _default_neck(self) -> str:
        return default_neck(self.head)

    def _views_of(self, extractor: FeatureExtractor, recipe: DetectionRecipe) -> list[View]:
        preprocess = extractor.resolve().preprocess
        views = [mirrored(preprocess)] if recipe.mirrored else []
        if recipe.zoomed:
            views += [
                zoomed(preprocess, direction, is_mirrored=is_mirrored)
                for direction in ("out", "in")
                for is_mirrored in ((False, True) if recipe.mirrored else (False,))
            ]
        return views

    def _samples_of(self, views: Sequence[Maps], annotations: AnnotationSet) -> ObjectSamples:
        size = self.input_size_
        # Files are read once, and not once for each view.
        objects = [dataclasses.replace(one, masks=None, map=None) for one in annotations]
        targets = [
            [
                object_target(objects[i], frame, size)
                for i, frame in zip(maps.image_of_rows, maps.frames, strict=True)
            ]
            for maps in views
        ]
        return ObjectSamples([maps.levels for maps in views], targets, views[0].image_of)

    def _loop(self, train: ObjectSamples) -> LoopOf:
        self.suppression_ = self._suppression(train)
        return functools.partial(
            create_detection_loop,
            size=self.input_size_,
            n_classes=len(self.classes_),
            n_objects=train.n_objects,
            rule=self.suppression_,
        )

    def _suppression(self, train: ObjectSamples) -> Suppression:
        given = {"limit": max(_LEAST_LIMIT, 2 * train.most_objects), **(self.suppression or {})}
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
        suited = suited_options(
            self.head,
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
            network, held, self.input_size_, len(self.classes_), self.suppression_
        )
        if counts.best is not None:
            self.threshold_ = round(counts.best.threshold, 4)

    # ---- predict and measure ----

    def _annotated(
        self, levels: list[Tensor], frames: list[Frame], sizes: list[tuple[int, int]]
    ) -> list[Annotations]:
        network = self.network_.to(levels[0].device)
        found = suppressed(network(levels, self.input_size_), self.suppression_)
        return [
            _in_image(found, i, frame, size)
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
        return merged(moved, boxes, self.suppression_)

    def _report(self, true: Any, predicted: Any) -> DetectionReport:
        return detection_report(
            true,
            predicted,
            self.classes_,
            limit=self.suppression_.limit,
            threshold=self.threshold_,
        )

    def believed(self, annotations: Annotations) -> Annotations:
        """Return the boxes of which the score reaches ``threshold_``."""
        assert annotations.scores is not None
        return annotations.select(annotations.scores >= self.threshold_)

    @property
    def output_names_(self) -> np.ndarray:
        """Names of the classes, without the background."""
        return np.array(self.classes_[1:])

    def line(self, annotations: Annotations | None) -> dict[str, Any]:
        """Objects of which the score reaches ``threshold_``: of each class how many, and where."""
        names = self.classes_[1:]
        if annotations is None:
            return {"objects": None, "count": dict.fromkeys(names), "boxes": None}
        sure = self.believed(annotations)
        assert sure.labels is not None
        assert sure.boxes is not None
        assert sure.scores is not None
        counts = np.bincount(sure.labels, minlength=len(self.classes_))[1:].tolist()
        boxes = [
            {
                "label": self.classes_[label],
                "score": round(score, 4),
                "box": np.round(box, 2).tolist(),
            }
            for label, score, box in zip(
                sure.labels.tolist(), sure.scores.tolist(), sure.boxes, strict=True
            )
        ]
        return {
            "objects": len(boxes),
            "count": dict(zip(names, counts, strict=True)),
            "boxes": boxes,
        }

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


def _in_image(found: Detections, i: int, frame: Frame, size: tuple[int, int]) -> Annotations:
    """Detections of one image of a batch, in its px, cut off at its edges."""
    kept = found.scores[i] > 0
    boxes, scores, labels = (each[i][kept].cpu().numpy() for each in found)
    height, width = size
    boxes = frame.back_boxes(boxes.astype(np.float64)).clip(0, [width, height, width, height])
    # With a border around the image, a box may lie outside of it.
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return Annotations(size, boxes=boxes[inside], labels=labels[inside], scores=scores[inside])
