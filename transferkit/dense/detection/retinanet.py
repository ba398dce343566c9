"""RetinaNet: anchors on every level, scored and moved by two towers, and the focal loss.

References
----------
Lin, Goyal, Girshick, He, Dollár (2017), "Focal loss for dense object detection", section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from transferkit.dense.detection._anchors import (
    anchors_of_level,
    level_shapes,
    suited_ratios,
    suited_sizes,
    usual_sizes,
)
from transferkit.dense.detection._assignment import by_iou
from transferkit.dense.detection._candidates import AnchorLevel, candidates_of_anchors
from transferkit.dense.detection._coding import boxes_of_deltas
from transferkit.dense.detection._head import Candidates, DetectionHead, Target
from transferkit.dense.detection._losses import focal_sum
from transferkit.dense.detection._towers import (
    ExtraLevels,
    Tower,
    flattened,
    last_layer,
    laterals,
)
from transferkit.maps import FeatureMaps

__all__ = ["NECK", "Head", "RetinaNetHead", "suited_options"]

NECK = "fpn"

_SIZES_PER_LEVEL = 2
_N_RATIOS = 3
# An anchor is background below the first IoU, and an object's from the second on.
_BACKGROUND, _OBJECT = 0.4, 0.5
# Weight of the loss of the boxes beside that of the classes.
_BOX_WEIGHT = 1.0


class RetinaNetHead(DetectionHead):
    """Two towers that share nothing, for classes and for boxes; all levels share both.

    Parameters
    ----------
    channels, strides, n_classes
        As for `DetectionHead`.
    width : int, default=64
        Of all layers.
    depth : int, default=2
        Convolutions of a tower.
    extra_levels : int, default=0
        Levels that are added behind the coarsest, each of half its size.
    sizes : sequence of sequence of float, optional
        Square roots of the anchors' areas, px: a list for each level that it is given; by default
        4 and 5.7 strides. Each extra level has twice those of the one before it.
    ratios : sequence of float, default=(0.5, 1, 2)
        Height over width of the anchors.

    Raises
    ------
    ValueError
        If there can be no such layers or anchors.

    Examples
    --------
    >>> head = RetinaNetHead([8, 8], [8, 16], n_classes=3, width=8)
    >>> maps = {"a": torch.zeros(1, 8, 4, 6), "b": torch.zeros(1, 8, 2, 3)}
    >>> head.candidates(FeatureMaps(maps, {"a": 8, "b": 16}), (32, 48)).boxes.shape
    torch.Size([1, 360, 4])
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[float],
        n_classes: int,
        *,
        width: int = 64,
        depth: int = 2,
        extra_levels: int = 0,
        sizes: Sequence[Sequence[float]] | None = None,
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
    ) -> None:
        super().__init__(channels, strides, n_classes)
        self.laterals = laterals(channels, width)
        self.extra = ExtraLevels(width, width, extra_levels)
        self.level_strides = self.extra.strides(strides)
        given = usual_sizes(strides, _SIZES_PER_LEVEL) if sizes is None else sizes
        self.shapes = level_shapes(given, ratios, strides, extra_levels)
        n_anchors = len(self.shapes[0])
        self.class_tower, self.box_tower = Tower(width, depth), Tower(width, depth)
        self.scores = last_layer(width, n_anchors * (n_classes - 1), is_score=True)
        self.deltas = last_layer(width, n_anchors * 4)

    def loss(self, maps: FeatureMaps, size: tuple[int, int], targets: Sequence[Target]) -> Tensor:
        """Focal loss of the classes and GIoU loss of the boxes; see `DetectionHead.loss`."""
        levels = self._levels_of(maps, size)
        scores = torch.cat([level.scores for level in levels], 1)
        deltas = torch.cat([level.deltas for level in levels], 1)
        anchors = torch.cat([level.anchors for level in levels])
        losses, n_positive = [], 0
        for own_scores, own_deltas, target in zip(scores, deltas, targets, strict=True):
            assignment = by_iou(anchors, target, low=_BACKGROUND, high=_OBJECT, keeps_best=True)
            positive = (assignment >= 0).nonzero()[:, 0]
            boxes = boxes_of_deltas(own_deltas[positive], anchors[positive])
            true = target["boxes"][assignment[positive]]
            losses.append(focal_sum(own_scores, assignment, target))
            off = generalized_box_iou_loss(boxes, true, reduction="sum")
            losses.append(_BOX_WEIGHT * off)
            n_positive += len(positive)
        return torch.stack(losses).sum() / max(n_positive, 1)

    def candidates(self, maps: FeatureMaps, size: tuple[int, int]) -> Candidates:
        """The best anchors of each level, moved; see `DetectionHead.candidates`."""
        levels = self._levels_of(maps, size)
        probabilities = [level.scores.sigmoid() for level in levels]
        return candidates_of_anchors(levels, probabilities, size)

    def _levels_of(self, maps: FeatureMaps, size: tuple[int, int]) -> list[AnchorLevel]:
        given = zip(self.laterals, self.levels(maps), strict=True)
        levels = self.extra([layer(level) for layer, level in given])
        return [
            AnchorLevel(
                flattened(self.scores(self.class_tower(level)), self.n_classes - 1),
                flattened(self.deltas(self.box_tower(level)), 4),
                anchors_of_level(level.shape[-2:], stride, size, shapes, level.device),
            )
            for level, stride, shapes in zip(levels, self.level_strides, self.shapes, strict=True)
        ]


Head = RetinaNetHead


def suited_options(
    boxes: NDArray[Any], strides: Sequence[float], size: tuple[int, int], most: int = 0
) -> dict[str, Any]:
    """Sizes and ratios of the anchors; see `transferkit.dense.detection.suited_options`."""
    return {
        "sizes": suited_sizes(boxes, strides, _SIZES_PER_LEVEL),
        "ratios": suited_ratios(boxes, _N_RATIOS),
    }
