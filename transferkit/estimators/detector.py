"""`TransferDetector` trains a neck and a detection head on the maps of a frozen backbone."""

from __future__ import annotations

from typing import Any

from transferkit.dense.network import DetectionNetwork
from transferkit.estimators._objects import ObjectEstimator
from transferkit.metrics import (
    DetectionCounts,
    DetectionReport,
    count_detections,
    report_of_detections,
)

__all__ = ["TransferDetector"]


class TransferDetector(ObjectEstimator):
    """Find objects with a neck and a head that are trained on a frozen backbone's maps.

    The network runs once over each image, and over its mirror image and zoomed ones for
    training; then the head trains on the stored maps.

    Parameters
    ----------
    backbone : str, Backbone, BackboneSpec or FeatureExtractor
        As for `FeatureExtractor`. One that is given by name sees the whole image, squashed to
        its input size, and its maps are stored as float16.
    head : str, optional
        One of `transferkit.dense.detection.detection_heads`; ``"faster-rcnn"`` by default.
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
    >>> from transferkit import FeatureExtractor
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

    # ---- predict and measure ----

    def _counted(self, true: Any, predicted: Any) -> DetectionCounts:
        return count_detections(true, predicted, self.classes_, limit=self.suppression_.limit)

    def report_of(self, counts: DetectionCounts) -> DetectionReport:
        """Make the report of boxes that are counted."""
        return report_of_detections(counts, self.threshold_)
