"""`TransferOrientedDetector` trains a head of oriented boxes on the maps of a frozen backbone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from transferkit.annotations import Annotations, AnnotationSet
from transferkit.dense.network import OrientedNetwork
from transferkit.dense.recipe import DenseRecipe, OrientedRecipe
from transferkit.estimators._dense import suited_size
from transferkit.estimators._objects import ObjectEstimator
from transferkit.estimators.extractor import FeatureExtractor
from transferkit.images import ImageSet, corners_of_oriented
from transferkit.metrics import (
    ORIENTED,
    DetectionCounts,
    OrientedReport,
    count_detections,
    report_of_objects,
)

__all__ = ["TransferOrientedDetector"]

# The input is as large as it takes for the middle object to have a side of so many px, within
# bounds of its longer side: the angle of an object of a few cells can't be told exactly.
_WANTED_SIDE, _LONGEST = 32, 640


class TransferOrientedDetector(ObjectEstimator):
    """Find turned rectangles with a neck and a head that are trained on a frozen backbone's maps.

    The network runs once over each image, and over its mirror image for
    training; then the head trains on the stored maps. Boxes are as `transferkit.images.oriented`
    has them: centre, longer and shorter side, px, and an angle in degrees, counter-clockwise.

    Parameters
    ----------
    backbone : str, Backbone, BackboneSpec or FeatureExtractor
        As for `FeatureExtractor`. One that is given by name sees the whole image, with a border
        where the input has another shape, and its maps are stored as float16. With another one,
        a ``crop_mode`` of ``"squash"`` turns rectangles into parallelograms, unless the images
        have the input's shape.
    head : str, optional
        One of `transferkit.dense.oriented.oriented_heads`; ``"rotated-fcos"`` by default.
    neck, features, image_size, head_options, neck_options, tiles
        As for `TransferDetector`.
    suppression : mapping, optional
        Fields of `transferkit.dense.detection.Suppression`; ``iou`` is 0.3 by default.
    recipe : mapping, optional
        Fields of `transferkit.dense.recipe.OrientedRecipe`, such as ``{"turned": True}``.
    store, device, batch_size, progress
        As for `FeatureExtractor`.
    folder : path, optional
        For checkpoint and curves of the training; by default they are not kept.

    Attributes
    ----------
    classes_, network_, suppression_, threshold_, history_
        As for `TransferDetector`.

    See Also
    --------
    TransferDetector : Finds upright boxes.

    Examples
    --------
    >>> import numpy as np
    >>> from transferkit.annotations import Annotations
    >>> images = np.zeros((6, 64, 64, 3), dtype=np.uint8)
    >>> images[:, 16:48, 24:40] = 255  # a white rectangle
    >>> box, around = np.array([[32.0, 32.0, 32.0, 16.0, -90.0]]), np.array([[24.0, 16, 40, 48]])
    >>> one = Annotations((64, 64), boxes=around, oriented=box, labels=np.array([1]))
    >>> extractor = FeatureExtractor(
    ...     "resnet18", pretrained=False, image_size=64, crop_pct=1.0, store=False
    ... )
    >>> recipe = {"epochs": 10}
    >>> detector = TransferOrientedDetector(extractor, recipe=recipe)
    >>> detector.fit(images, [one] * 6).predict(images)[0].oriented.shape[1]
    5
    """

    task_name = "oriented"
    network_kind = OrientedNetwork
    recipe_kind: ClassVar[type[DenseRecipe]] = OrientedRecipe
    # A rectangle that is squashed is none any more.
    crop_mode = "border"
    # Two rectangles of one object overlap less than upright boxes, where their angles differ: with
    # 0.3 for 0.6 the AP50 of cars seen from the air was 10 points better, and that of people 3.
    usual_suppression: ClassVar[Mapping[str, Any]] = {"iou": 0.3}

    # ---- fit ----

    # Side of the middle object, as a share of its image's longer side; None if there is none.
    _usual_side: float | None = None

    def _look_at(self, annotations: AnnotationSet | None) -> None:
        super()._look_at(annotations)
        sides = [
            np.sqrt(one.oriented[:, 2:4].prod(1)) / max(one.size)
            for one in annotations or ()
            if one.oriented is not None
        ]
        every = np.concatenate(sides) if sides else np.zeros(0)
        self._usual_side = float(np.median(every)) if len(every) else None

    def _suited_size(self, extractor: FeatureExtractor, images: ImageSet) -> tuple[int, int]:
        # Tiles show objects larger than the image does.
        if not self._usual_side or self.tiling_ is not None:
            return super()._suited_size(extractor, images)
        wanted = math.ceil(_WANTED_SIDE / self._usual_side)
        least, most = min(max(wanted, 256), _LONGEST), min(max(wanted, 512), _LONGEST)
        return suited_size(extractor, images, least=least, most=most)

    # ---- predict and measure ----

    def _counted(self, true: Any, predicted: Any) -> DetectionCounts:
        limit = self.suppression_.limit
        return count_detections(
            true, predicted, self.classes_, limit=limit, shapes=ORIENTED, task=self.task_name
        )

    def report_of(self, counts: DetectionCounts) -> OrientedReport:
        """Make the report of oriented boxes that are counted."""
        return report_of_objects(OrientedReport, counts, self.threshold_)

    def _places(self, objects: Annotations) -> list[dict[str, Any]]:
        assert objects.oriented is not None
        corners = np.round(corners_of_oriented(objects.oriented), 2).tolist()
        return [
            {"box": box, "corners": points}
            for box, points in zip(np.round(objects.oriented, 2).tolist(), corners, strict=True)
        ]
