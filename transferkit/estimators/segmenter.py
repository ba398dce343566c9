"""`TransferSegmenter`: a class for every pixel, from the maps of a frozen backbone."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from transferkit.annotations import Annotations, AnnotationSet
from transferkit.backbones import Backbone
from transferkit.dense.fitting import LoopOf
from transferkit.dense.network import SegmentationNetwork
from transferkit.dense.recipe import SegmentationRecipe
from transferkit.dense.resampling import classes_in_image
from transferkit.dense.samples import DenseSamples, class_maps
from transferkit.dense.segmentation import default_neck
from transferkit.dense.segmentation_loop import create_segmentation_loop
from transferkit.estimators._maps import Maps
from transferkit.estimators._network import NetworkEstimator
from transferkit.estimators._tiles import Box, map_of_tiles
from transferkit.estimators.extractor import FeatureExtractor
from transferkit.extract import View, mirrored
from transferkit.images import Frame, Tiling
from transferkit.metrics import PixelCounts, SegmentationReport, count_pixels, report_of_pixels
from transferkit.spec import BackboneSpec
from transferkit.store import FeatureStore

__all__ = ["TransferSegmenter"]


class TransferSegmenter(NetworkEstimator):
    """Segment images with a neck and a head that are trained on a frozen backbone's maps.

    The network runs once over each image, and over its mirror image for training; then the
    head trains on the stored maps.

    Parameters
    ----------
    backbone : str, Backbone, BackboneSpec or FeatureExtractor
        As for `FeatureExtractor`. One that is given by name sees the whole image, squashed to
        its input size, and its maps are stored as float16.
    head : str, default="unet"
        One of `transferkit.dense.segmentation.segmentation_heads`.
    neck : str, optional
        One of `transferkit.necks.neck_names`; by default the one that suits the head.
    features : str or sequence of str, optional
        Layers whose maps are taken, fine to coarse, such as ``"stage1,stage2"``; by default the
        last of each stride from 4 to 32 px.
    image_size : int or (int, int), optional
        Height and width of the network's input, px, of a backbone that is given by name; by
        default near the images' median size, with a longer side of 256 to 512.
    head_options, neck_options : mapping, optional
        Options of the head and the neck, such as ``{"width": 128}``.
    recipe : mapping, optional
        Fields of `transferkit.dense.recipe.SegmentationRecipe`, such as ``{"epochs": 20}``.
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
        Names of the classes, by number.
    network_ : SegmentationNetwork
        The trained neck and head.
    history_ : list of dict
        One line for each epoch.

    See Also
    --------
    read_annotations : Reads masks of files.
    AnomalyDetector : Learns from good images alone, without masks.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.zeros((6, 64, 64, 3), dtype=np.uint8)
    >>> images[:, :, 32:] = 255  # the right half is white
    >>> maps = [(image[:, :, 0] > 0).astype(int) for image in images]
    >>> extractor = FeatureExtractor(
    ...     "resnet18", pretrained=False, image_size=64, crop_pct=1.0, store=False
    ... )
    >>> recipe = {"epochs": 20, "learning_rate": 0.01}
    >>> segmenter = TransferSegmenter(extractor, "linear", recipe=recipe)
    >>> segmenter.fit(images, maps).predict(images)[0].map[0, [0, 63]].tolist()
    [0, 1]
    """

    task_name = "segmentation"
    network_kind = SegmentationNetwork
    recipe_kind = SegmentationRecipe

    def __init__(
        self,
        backbone: str | Backbone | BackboneSpec | FeatureExtractor,
        head: str = "unet",
        *,
        neck: str | None = None,
        features: str | Sequence[str] | None = None,
        image_size: int | tuple[int, int] | None = None,
        head_options: Mapping[str, Any] | None = None,
        neck_options: Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
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
        self.tiles = tiles
        self.store = store
        self.device = device
        self.batch_size = batch_size
        self.progress = progress
        self.folder = folder

    # ---- fit ----

    def _default_neck(self) -> str:
        return default_neck(self._head_name)

    def _views_of(self, extractor: FeatureExtractor, recipe: SegmentationRecipe) -> list[View]:
        return [mirrored(extractor.resolve().preprocess)] if recipe.mirrored else []

    def _samples_of(self, views: Sequence[Maps], annotations: AnnotationSet) -> DenseSamples:
        plain = views[0]
        targets = class_maps(plain.of_rows(annotations), plain.frames, self.input_size_)
        return DenseSamples([maps.levels for maps in views], targets)

    def _loop(self, train: DenseSamples) -> LoopOf:
        assert train.targets is not None
        return functools.partial(
            create_segmentation_loop, targets=train.targets, n_classes=len(self.classes_)
        )

    # ---- predict and measure ----

    def _annotated(
        self, levels: list[Tensor], frames: list[Frame], sizes: list[tuple[int, int]]
    ) -> list[Annotations]:
        network = self.network_.to(levels[0].device)
        scores = network(levels)
        sure = scores.softmax(1).amax(1).mean((1, 2)).tolist()
        return [
            Annotations(
                size,
                map=classes_in_image(scores[i], frame, self.input_size_, size),
                score=sure[i],
            )
            for i, (frame, size) in enumerate(zip(frames, sizes, strict=True))
        ]

    def _counted(self, true: Any, predicted: Any) -> PixelCounts:
        return count_pixels(true, predicted, self.classes_)

    def report_of(self, counts: PixelCounts) -> SegmentationReport:
        """Make the report of pixels that are counted."""
        return report_of_pixels(counts)

    def _merged(
        self, found: Sequence[Annotations], boxes: Sequence[Box], size: tuple[int, int]
    ) -> Annotations:
        return map_of_tiles(found, boxes, size)

    def line(self, annotations: Annotations | None) -> dict[str, Any]:
        """Confidence of an image's classes, and the share of the pixels that each has."""
        if annotations is None or annotations.map is None:
            return {"confidence": None, "share": dict.fromkeys(self.classes_)}
        known = annotations.map[annotations.map >= 0]
        counts = np.bincount(known, minlength=len(self.classes_))
        shares = (counts / max(len(known), 1)).tolist()
        return {
            "confidence": annotations.score,
            "share": dict(zip(self.classes_, shares, strict=True)),
        }

    def score(self, images: Any, annotations: Any = None) -> float:
        """Mean IoU of the predictions.

        Parameters
        ----------
        images, annotations
            As for `fit`.
        """
        value = self.measure(images, annotations).value("mean_iou")
        return float("nan") if value is None else value
