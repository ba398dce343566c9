"""SSD: each level has layers of its own that score and move its anchors.

References
----------
Liu, Anguelov, Erhan, Szegedy, Reed, Fu, Berg (2016), "SSD: single shot multibox detector".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.ops import generalized_box_iou_loss

from transferkit.dense.detection._anchors import (
    anchors_of_level,
    level_shapes,
    suited_ratios,
    suited_sizes,
    usual_sizes,
)
from transferkit.dense.detection._assignment import BACKGROUND, by_iou
from transferkit.dense.detection._candidates import AnchorLevel, candidates_of_anchors
from transferkit.dense.detection._coding import boxes_of_deltas
from transferkit.dense.detection._head import Candidates, DetectionHead, Target
from transferkit.dense.detection._towers import ExtraLevels, Tower, flattened, last_layer
from transferkit.maps import FeatureMaps

__all__ = ["NECK", "Head", "SSDHead", "suited_options"]

NECK = "fpn"

_SIZES_PER_LEVEL = 2
_N_RATIOS = 3
# From this IoU on an anchor is an object's; section 2.2, "Matching strategy".
_OBJECT = 0.5
# Anchors of the background that are learnt for each of an object, the hardest of them; "Hard
# negative mining". Of an image without objects there are a few nevertheless.
_HARD_PER_POSITIVE = 3
_LEAST_HARD = 8
# Weight of the boxes' loss beside that of the classes.
_BOX_WEIGHT = 2.0


class SSDHead(DetectionHead):
    """For each level, which may have any width, a few convolutions, and one that predicts.

    The paper's has no convolution before the last one, on levels of a deep network that learns
    too; and it learns deltas by smooth L1. On raccoon, with a frozen MobileNetV2, one convolution
    and the GIoU loss together gave 42.5 AP for 34.9 in 14 s for 10, one seed; each alone gave 36.9
    and 33.8.

    Parameters
    ----------
    channels, strides, n_classes
        As for `DetectionHead`.
    width : int, default=64
        Of the extra levels.
    depth : int, default=1
        Convolutions of a level before the last one, as wide as the level.
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
    >>> head = SSDHead([8, 12], [8, 16], n_classes=3, width=8)
    >>> maps = {"a": torch.zeros(1, 8, 4, 6), "b": torch.zeros(1, 12, 2, 3)}
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
        depth: int = 1,
        extra_levels: int = 0,
        sizes: Sequence[Sequence[float]] | None = None,
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
    ) -> None:
        super().__init__(channels, strides, n_classes)
        self.extra = ExtraLevels(channels[-1], width, extra_levels)
        self.level_strides = self.extra.strides(strides)
        given = usual_sizes(strides, _SIZES_PER_LEVEL) if sizes is None else sizes
        self.shapes = level_shapes(given, ratios, strides, extra_levels)
        n_anchors = len(self.shapes[0])
        widths = [*channels, *[width] * extra_levels]
        self.towers = nn.ModuleList(Tower(n, depth) for n in widths)
        self.scores = nn.ModuleList(last_layer(n, n_anchors * n_classes) for n in widths)
        self.deltas = nn.ModuleList(last_layer(n, n_anchors * 4) for n in widths)

    def loss(self, maps: FeatureMaps, size: tuple[int, int], targets: Sequence[Target]) -> Tensor:
        """Cross-entropy of the classes and GIoU loss; see `DetectionHead.loss`."""
        levels = self._levels_of(maps, size)
        scores = torch.cat([level.scores for level in levels], 1)
        deltas = torch.cat([level.deltas for level in levels], 1)
        anchors = torch.cat([level.anchors for level in levels])
        losses, n_positive = [], 0
        for own_scores, own_deltas, target in zip(scores, deltas, targets, strict=True):
            assignment = by_iou(anchors, target, low=_OBJECT, high=_OBJECT, keeps_best=True)
            positive = (assignment >= 0).nonzero()[:, 0]
            objects = assignment[positive]
            boxes = boxes_of_deltas(own_deltas[positive], anchors[positive])
            off = generalized_box_iou_loss(boxes, target["boxes"][objects], reduction="sum")
            losses += [_class_loss(own_scores, assignment, target), _BOX_WEIGHT * off]
            n_positive += len(positive)
        return torch.stack(losses).sum() / max(n_positive, 1)

    def candidates(self, maps: FeatureMaps, size: tuple[int, int]) -> Candidates:
        """The best anchors of each level, moved; see `DetectionHead.candidates`."""
        levels = self._levels_of(maps, size)
        probabilities = [level.scores.softmax(2)[..., 1:] for level in levels]
        return candidates_of_anchors(levels, probabilities, size)

    def _levels_of(self, maps: FeatureMaps, size: tuple[int, int]) -> list[AnchorLevel]:
        found = []
        for i, level in enumerate(self.extra(self.levels(maps))):
            state = self.towers[i](level)
            stride, cells = self.level_strides[i], level.shape[-2:]
            found.append(
                AnchorLevel(
                    flattened(self.scores[i](state), self.n_classes),
                    flattened(self.deltas[i](state), 4),
                    anchors_of_level(cells, stride, size, self.shapes[i], level.device),
                )
            )
        return found


def _class_loss(scores: Tensor, assignment: Tensor, target: Target) -> Tensor:
    """Cross-entropy of the objects' anchors and of the hardest ones of the background, summed."""
    positive = (assignment >= 0).nonzero()[:, 0]
    truth = torch.zeros_like(assignment)
    truth[positive] = target["labels"][assignment[positive]]
    losses = cross_entropy(scores, truth, reduction="none")
    background = losses[assignment == BACKGROUND]
    n_hard = min(max(_HARD_PER_POSITIVE * len(positive), _LEAST_HARD), len(background))
    # The hardest are those of the highest loss, which of the background is that of least score.
    return losses[positive].sum() + background.topk(n_hard).values.sum()


Head = SSDHead


def suited_options(
    boxes: NDArray[Any], strides: Sequence[float], size: tuple[int, int], most: int = 0
) -> dict[str, Any]:
    """Sizes and ratios of the anchors; see `transferkit.dense.detection.suited_options`."""
    return {
        "sizes": suited_sizes(boxes, strides, _SIZES_PER_LEVEL),
        "ratios": suited_ratios(boxes, _N_RATIOS),
    }
