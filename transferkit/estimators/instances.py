"""`TransferInstanceSegmenter` trains a neck and an instance head on a frozen backbone's maps."""

from __future__ import annotations

from typing import Any, ClassVar

from transferkit.annotations import Annotations
from transferkit.dense.network import InstanceNetwork
from transferkit.dense.recipe import DenseRecipe, InstanceRecipe
from transferkit.estimators._dense import suited_size
from transferkit.estimators._objects import ObjectEstimator
from transferkit.estimators.extractor import FeatureExtractor
from transferkit.images import ImageSet
from transferkit.metrics import (
    InstanceCounts,
    InstanceReport,
    count_instances,
    report_of_instances,
)

__all__ = ["TransferInstanceSegmenter"]

# The input is enlarged until a small object has so long a side, px, or the input itself the other.
# On 96 images of nuclei of 256 px, twice as large an input without maps of stride 4 was 4 points
# of AP better than the images' own size with them, and as quick to train.
_WANTED, _LARGEST = 32, 512


class TransferInstanceSegmenter(ObjectEstimator):
    """Find the pixels of every object with a head that is trained on a frozen backbone's maps.

    The network runs once over each image, and over its mirror image and zoomed ones for
    training; then neck and head train on the stored maps. A crowded image may have hundreds of
    objects: masks are held and painted within their boxes.

    Parameters
    ----------
    backbone : str, Backbone, BackboneSpec or FeatureExtractor
        As for `TransferDetector`.
    head : str, optional
        One of `transferkit.dense.instances.instance_heads`; ``"mask-rcnn"`` by default.
    neck, features, image_size, head_options, neck_options, recipe, suppression, tiles
        As for `TransferDetector`. By default the input is larger than the images where objects
        are small, with a longer side of up to 512 px.
    store, device, batch_size, progress
        As for `FeatureExtractor`.
    folder : path, optional
        For checkpoint and curves of the training; by default they are not kept.

    Attributes
    ----------
    classes_ : tuple of str
        Names of the classes, by number; the first is the background.
    network_ : InstanceNetwork
        The trained neck and head.
    suppression_, threshold_, history_
        As for `TransferDetector`.

    See Also
    --------
    read_annotations : Reads the masks of files.
    TransferDetector : Finds boxes alone, in less time.
    TransferSegmenter : Finds the class of every pixel, without telling objects apart.

    Examples
    --------
    >>> import numpy as np
    >>> from transferkit.annotations import Annotations
    >>> images = np.zeros((6, 64, 64, 3), dtype=np.uint8)
    >>> images[:, 16:48, 24:56] = 255  # a white square
    >>> square = images[:1, ..., 0] > 0
    >>> boxes = np.array([[24.0, 16.0, 56.0, 48.0]])
    >>> truth = [Annotations((64, 64), boxes=boxes, masks=square, labels=np.array([1]))] * 6
    >>> extractor = FeatureExtractor(
    ...     "resnet18", pretrained=False, image_size=64, crop_pct=1.0, store=False
    ... )
    >>> model = TransferInstanceSegmenter(extractor, recipe={"epochs": 10, "zoomed": False})
    >>> model.fit(images, truth).predict(images)[0].masks.shape[1:]
    (64, 64)
    """

    task_name = "instances"
    recipe_kind: ClassVar[type[DenseRecipe]] = InstanceRecipe
    # After that, less than a cell of stride 8.
    fine_below = 8
    network_kind = InstanceNetwork

    # ---- fit ----

    def _suited_size(self, extractor: FeatureExtractor, images: ImageSet) -> tuple[int, int]:
        size = suited_size(extractor, images)
        factor = max(1.0, _WANTED / self._small_at(size))
        return suited_size(extractor, images, least=int(min(factor * max(size), _LARGEST)))

    # ---- predict and measure ----

    def _counted(self, true: Any, predicted: Any) -> InstanceCounts:
        limit = self.suppression_.limit
        return count_instances(
            true, predicted, self.classes_, limit=limit, threshold=self.threshold_
        )

    def report_of(self, counts: InstanceCounts) -> InstanceReport:
        """Make the report of masks that are counted."""
        return report_of_instances(counts)

    def _places(self, objects: Annotations) -> list[dict[str, Any]]:
        assert objects.masks is not None
        areas = objects.masks.areas.tolist()
        return [
            {**place, "area": area}
            for place, area in zip(super()._places(objects), areas, strict=True)
        ]
