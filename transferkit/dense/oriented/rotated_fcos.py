"""Rotated FCOS: every cell tells the oriented box of its object, without anchors.

References
----------
Tian, Shen, Chen, He (2019), "FCOS: fully convolutional one-stage object detection": towers and
levels.
Zhang, Chi, Yao, Lei, Li (2020), "Bridging the gap between anchor-based and anchor-free detection
via adaptive training sample selection": which cells learn an object.
Wu, Li, Wang (2020), "IoU-aware single-stage object detector for accurate localization": the
quality of a box is its IoU.
Zhou, Fang, Song, Guan, Yin, Dai, Yang (2019), "IoU loss for 2D/3D object detection": the loss is
that of the turned boxes' own overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, smooth_l1_loss

from transferkit.dense.detection._anchors import points_of_level, suited_reach
from transferkit.dense.detection._candidates import best_of_level, joined_levels
from transferkit.dense.detection._losses import focal_sum
from transferkit.dense.detection._towers import (
    ExtraLevels,
    Tower,
    flattened,
    last_layer,
    laterals,
)
from transferkit.dense.objects import Candidates
from transferkit.dense.oriented._assignment import by_statistics
from transferkit.dense.oriented._coding import N_CODES, canonical, codes_of, rectangles_of
from transferkit.dense.oriented._head import OrientedHead, OrientedTarget
from transferkit.maps import FeatureMaps
from transferkit.metrics._clipping import paired_oriented_ious

__all__ = ["NECK", "Head", "RotatedFCOSHead", "suited_options"]

NECK = "fpn"

# A cell stands for a square of so many strides where objects are given to cells, and an object
# looks at so many cells of each level. Zhang et al. have 8 strides, with which all objects of up to
# 40 px are learnt on stride 4; with 4 many go to the next level, and were found better.
_STRIDES_PER_SQUARE = 4.0
_N_NEAREST = 9
# Weights of the losses of the boxes beside those of classes and quality: of the overlap, and of
# the numbers that the boxes are told by.
_BOX_WEIGHT, _CODE_WEIGHT = 2.0, 0.2
_SMOOTH = 0.1


class _OrientedLevel(NamedTuple):
    """What the head says of a level, and where its cells are.

    Scores ``(B, n, classes)`` and quality ``(B, n)``, both before the sigmoid; codes ``(B, n, 7)``,
    points ``(n, 2)``, px, and the level's reach, ``(n,)``, px.
    """

    scores: Tensor
    quality: Tensor
    codes: Tensor
    points: Tensor
    reach: Tensor


class RotatedFCOSHead(OrientedHead):
    """Two towers for classes and boxes, shared by all levels; the IoU of a box is foretold too.

    A candidate's score is the geometric mean of its class's probability and of that IoU.

    Parameters
    ----------
    channels, strides, n_classes
        As for `OrientedHead`.
    width : int, default=64
        Of all layers.
    depth : int, default=2
        Convolutions of a tower.
    extra_levels : int, default=0
        Levels that are added behind the coarsest, each of half its size.
    reach : sequence of float, optional
        Half the side that a fresh head's boxes have on each level that it is given, px; by
        default 4 strides. Each extra level has twice as much as the one before it.

    Raises
    ------
    ValueError
        If there can be no such layers, or `reach` isn't one number above 0 per level.

    Examples
    --------
    >>> head = RotatedFCOSHead([8, 8], [8, 16], n_classes=3, width=8)
    >>> maps = {"a": torch.zeros(1, 8, 4, 6), "b": torch.zeros(1, 8, 2, 3)}
    >>> head.candidates(FeatureMaps(maps, {"a": 8, "b": 16}), (32, 48)).boxes.shape
    torch.Size([1, 60, 5])
    """

    start: Tensor

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
        self.codes, self.quality = last_layer(width, N_CODES), last_layer(width, 1)
        # A direction of length 0 has no angle; a fresh head's boxes are upright squares.
        start = torch.zeros(N_CODES)
        start[2], start[5] = torch.tensor(2.0).log(), 1.0
        self.register_buffer("start", start, persistent=False)
        # Of each level's shifts and sizes, as in section 3.1 of the paper.
        self.scales = nn.Parameter(torch.ones(len(self.reach)))

    def loss(
        self, maps: FeatureMaps, size: tuple[int, int], targets: Sequence[OrientedTarget]
    ) -> Tensor:
        """Focal loss, those of overlap and codes, and quality loss; see `ObjectHead.loss`."""
        levels = self._levels_of(maps, size)
        scores, quality, codes = (torch.cat([x[i] for x in levels], 1) for i in range(3))
        points, reach = (torch.cat([x[i] for x in levels]) for i in (3, 4))
        squares = [_STRIDES_PER_SQUARE * stride for stride in self.level_strides]
        places = [level.points for level in levels]
        of_class, found = [], []
        for i, target in enumerate(targets):
            assignment = by_statistics(places, squares, target, n_nearest=_N_NEAREST)
            of_class.append(focal_sum(scores[i], assignment, target))
            at = (assignment >= 0).nonzero()[:, 0]
            true = target["oriented"][assignment[at]]
            found.append((codes[i, at], quality[i, at], true, points[at], reach[at]))
        # The boxes of all images at once: there are few of an image.
        own, foretold, true, *where = (torch.cat(each) for each in zip(*found, strict=True))
        ious = paired_oriented_ious(rectangles_of(own, *where), true)
        off = smooth_l1_loss(own, codes_of(true, *where), beta=_SMOOTH, reduction="sum")
        of_quality = binary_cross_entropy_with_logits(foretold, ious.detach(), reduction="sum")
        of_box = _BOX_WEIGHT * (1 - ious).sum() + _CODE_WEIGHT * off
        return (torch.stack(of_class).sum() + of_box + of_quality) / max(len(true), 1)

    def candidates(self, maps: FeatureMaps, size: tuple[int, int]) -> Candidates:
        """The best cells of each level; see `ObjectHead.candidates`."""
        found = []
        for level in self._levels_of(maps, size):
            each = (level.scores.sigmoid() * level.quality.sigmoid()[..., None]).sqrt()
            scores, labels, at = best_of_level(each)
            codes = level.codes.gather(1, at[..., None].expand(-1, -1, N_CODES))
            boxes = rectangles_of(codes, level.points[at], level.reach[at])
            found.append(Candidates(canonical(boxes), scores, labels))
        return joined_levels(found)

    def _levels_of(self, maps: FeatureMaps, size: tuple[int, int]) -> list[_OrientedLevel]:
        given = zip(self.laterals, self.levels(maps), strict=True)
        found = []
        for i, level in enumerate(self.extra([layer(level) for layer, level in given])):
            of_class, of_box = self.class_tower(level), self.box_tower(level)
            codes = flattened(self.codes(of_box), N_CODES)
            codes = torch.cat((codes[..., :3] * self.scales[i], codes[..., 3:]), -1) + self.start
            points = points_of_level(level.shape[-2:], self.level_strides[i], size, level.device)
            found.append(
                _OrientedLevel(
                    flattened(self.scores(of_class), self.n_classes - 1),
                    flattened(self.quality(of_box), 1)[..., 0],
                    codes,
                    points,
                    torch.full_like(points[:, 0], self.reach[i]),
                )
            )
        return found


Head = RotatedFCOSHead


def suited_options(
    boxes: NDArray[Any], strides: Sequence[float], size: tuple[int, int], most: int = 0
) -> dict[str, Any]:
    """What the levels reach; see `transferkit.dense.oriented.suited_options`."""
    return {"reach": suited_reach(boxes, strides)}
