"""FCOS: every cell tells the distances to the edges of its object, without anchors.

References
----------
Tian, Shen, Chen, He (2019), "FCOS: fully convolutional one-stage object detection".
Zhang, Chi, Yao, Lei, Li (2020), "Bridging the gap between anchor-based and anchor-free detection
via adaptive training sample selection": which cells learn an object.
Wu, Li, Wang (2020), "IoU-aware single-stage object detector for accurate localization": the
quality of a box is its IoU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import generalized_box_iou_loss

from transferkit.dense.detection._anchors import anchors_of_level, points_of_level, suited_reach
from transferkit.dense.detection._assignment import by_statistics
from transferkit.dense.detection._candidates import best_of_level, joined_levels
from transferkit.dense.detection._coding import boxes_of_distances, cut_off
from transferkit.dense.detection._head import Candidates, DetectionHead, Target
from transferkit.dense.detection._losses import focal_sum, paired_ious
from transferkit.dense.detection._towers import (
    ExtraLevels,
    Tower,
    flattened,
    last_layer,
    laterals,
)
from transferkit.maps import FeatureMaps

__all__ = ["NECK", "FCOSHead", "Head", "suited_options"]

NECK = "fpn"

# A cell stands for a square of so many strides where objects are given to cells, and it looks at
# so many cells of each level, as Zhang et al. have it.
_STRIDES_PER_SQUARE = 8.0
_N_NEAREST = 9
# Weight of the loss of the boxes beside those of classes and quality.
_BOX_WEIGHT = 1.0
# Logarithm of a distance over what the level reaches: more is no box, and overflows.
_MOST_GROWTH = 6.0


class _PointLevel(NamedTuple):
    """What the head says of a level, and where its cells are.

    Scores ``(B, n, classes)`` and quality ``(B, n)``, both before the sigmoid; distances
    ``(B, n, 4)``, points ``(n, 2)`` and squares ``(n, 4)``, px.
    """

    scores: Tensor
    quality: Tensor
    distances: Tensor
    points: Tensor
    squares: Tensor


class FCOSHead(DetectionHead):
    """Two towers for classes and boxes, shared by all levels; the IoU of a box is foretold too.

    A candidate's score is the geometric mean of its class's probability and of that IoU, which
    takes the place of the paper's centre-ness. An object is learnt by cells whose centre lies in
    it: one that is much smaller than the finest stride may be missed.

    On raccoon, with a frozen MobileNetV2 and 8 epochs, the cells that Zhang et al. choose gave
    43.7 AP for the 32.6 of the paper's (by the distance to the edges, and near the centre), one
    seed.

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
    reach : sequence of float, optional
        Distance to an edge that a fresh head has on each level that it is given, px; by default
        4 strides. Each extra level has twice as much as the one before it.

    Raises
    ------
    ValueError
        If there can be no such layers, or `reach` isn't one number above 0 per level.

    Examples
    --------
    >>> head = FCOSHead([8, 8], [8, 16], n_classes=3, width=8)
    >>> maps = {"a": torch.zeros(1, 8, 4, 6), "b": torch.zeros(1, 8, 2, 3)}
    >>> head.candidates(FeatureMaps(maps, {"a": 8, "b": 16}), (32, 48)).boxes.shape
    torch.Size([1, 60, 4])
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
        reach: Sequence[float] | None = None,
    ) -> None:
        super().__init__(channels, strides, n_classes)
        self.laterals = laterals(channels, width)
        self.extra = ExtraLevels(width, width, extra_levels)
        self.level_strides = self.extra.strides(strides)
        given = [4.0 * stride for stride in strides] if reach is None else list(reach)
        if len(given) != len(strides) or not all(px > 0 for px in given):
            raise ValueError(
                f"reach is {given}; give px above 0 for each of the {len(strides)} levels"
            )
        self.reach = [*given, *(given[-1] * 2 ** (i + 1) for i in range(extra_levels))]
        self.class_tower, self.box_tower = Tower(width, depth), Tower(width, depth)
        self.scores = last_layer(width, n_classes - 1, is_score=True)
        self.distances, self.quality = last_layer(width, 4), last_layer(width, 1)
        # Of each level's logarithms, as in the paper's section 3.1.
        self.scales = nn.Parameter(torch.ones(len(self.reach)))

    def loss(self, maps: FeatureMaps, size: tuple[int, int], targets: Sequence[Target]) -> Tensor:
        """Focal, GIoU and quality loss of equal weight; see `DetectionHead.loss`."""
        levels = self._levels_of(maps, size)
        scores, quality, distances = (torch.cat([x[i] for x in levels], 1) for i in range(3))
        points = torch.cat([level.points for level in levels])
        squares = [level.squares for level in levels]
        losses, n_positive = [], 0
        for i, target in enumerate(targets):
            assignment = by_statistics(squares, target, n_nearest=_N_NEAREST)
            positive = (assignment >= 0).nonzero()[:, 0]
            true = target["boxes"][assignment[positive]]
            boxes = boxes_of_distances(distances[i, positive], points[positive])
            losses.append(focal_sum(scores[i], assignment, target))
            off = generalized_box_iou_loss(boxes, true, reduction="sum")
            losses.append(_BOX_WEIGHT * off)
            losses.append(
                binary_cross_entropy_with_logits(
                    quality[i, positive], paired_ious(boxes.detach(), true), reduction="sum"
                )
            )
            n_positive += len(positive)
        return torch.stack(losses).sum() / max(n_positive, 1)

    def candidates(self, maps: FeatureMaps, size: tuple[int, int]) -> Candidates:
        """The best cells of each level; see `DetectionHead.candidates`."""
        found = []
        for level in self._levels_of(maps, size):
            each = (level.scores.sigmoid() * level.quality.sigmoid()[..., None]).sqrt()
            scores, labels, at = best_of_level(each)
            distances = level.distances.gather(1, at[..., None].expand(-1, -1, 4))
            boxes = boxes_of_distances(distances, level.points[at])
            found.append(Candidates(cut_off(boxes, size), scores, labels))
        return joined_levels(found)

    def _levels_of(self, maps: FeatureMaps, size: tuple[int, int]) -> list[_PointLevel]:
        given = zip(self.laterals, self.levels(maps), strict=True)
        found = []
        for i, level in enumerate(self.extra([layer(level) for layer, level in given])):
            of_class, of_box = self.class_tower(level), self.box_tower(level)
            growth = flattened(self.distances(of_box), 4) * self.scales[i]
            stride, cells, device = self.level_strides[i], level.shape[-2:], level.device
            side = _STRIDES_PER_SQUARE * stride
            found.append(
                _PointLevel(
                    flattened(self.scores(of_class), self.n_classes - 1),
                    flattened(self.quality(of_box), 1)[..., 0],
                    growth.clamp(max=_MOST_GROWTH).exp() * self.reach[i],
                    points_of_level(cells, stride, size, device),
                    anchors_of_level(cells, stride, size, [(side, side)], device),
                )
            )
        return found


Head = FCOSHead


def suited_options(
    boxes: NDArray[Any], strides: Sequence[float], size: tuple[int, int], most: int = 0
) -> dict[str, Any]:
    """What the levels reach; see `transferkit.dense.detection.suited_options`."""
    return {"reach": suited_reach(boxes, strides)}
