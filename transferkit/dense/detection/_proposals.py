"""The region proposal network: boxes that may hold an object of any class.

References
----------
Ren, He, Girshick, Sun (2015), "Faster R-CNN: Towards real-time object detection with region
proposal networks", section 3.1; on several levels: Lin et al. (2017), "Feature pyramid networks
for object detection", section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, relu, smooth_l1_loss

from transferkit.dense.detection._anchors import anchors_of_level
from transferkit.dense.detection._assignment import by_iou
from transferkit.dense.detection._coding import boxes_of_deltas, cut_off, deltas_of
from transferkit.dense.detection._drawing import drawn
from transferkit.dense.detection._head import Candidates, Target
from transferkit.dense.detection._order import highest
from transferkit.dense.detection._suppression import Suppression, suppressed

__all__ = ["ProposalNetwork", "Proposed"]

# Thresholds of IoU, draw and suppression as in section 3.1.3 and 3.3 of the paper.
_LOW, _HIGH = 0.3, 0.7
_DRAWN, _SHARE = 256, 0.5
_SUPPRESSED_FROM = 0.7
# Where the loss of a box' edges becomes linear.
_BETA = 1 / 9


class Proposed(NamedTuple):
    """What the network says of all anchors of a batch, level after level.

    Parameters
    ----------
    scores : Tensor of shape (B, n)
        Logits of "an object", float32.
    deltas : Tensor of shape (B, n, 4)
        From the anchor to the object, float32.
    anchors : Tensor of shape (n, 4)
        px.
    counts : list of int
        Anchors of each level.
    """

    scores: Tensor
    deltas: Tensor
    anchors: Tensor
    counts: list[int]


class ProposalNetwork(nn.Module):
    """A convolution, and for each anchor of a cell a score and a box; the same on all levels.

    Parameters
    ----------
    channels : int
        Width of the levels.
    strides : sequence of float
        Of the levels, px.
    shapes : sequence of sequence of (float, float)
        Widths and heights of the anchors of each level, px, from `level_shapes`.
    per_level : int
        Boxes of a level, those of the highest scores, that are left before suppression.
    limit : int
        Boxes of an image that are left after it.
    """

    def __init__(
        self,
        channels: int,
        strides: Sequence[float],
        shapes: Sequence[Sequence[tuple[float, float]]],
        *,
        per_level: int,
        limit: int,
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.shapes = [list(each) for each in shapes]
        self.per_level = per_level
        self.rule = Suppression(iou=_SUPPRESSED_FROM, score=0.0, limit=limit)
        n = len(self.shapes[0])
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.score = nn.Conv2d(channels, n, 1)
        self.deltas = nn.Conv2d(channels, 4 * n, 1)
        for layer in (self.score, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, levels: Sequence[Tensor], size: tuple[int, int]) -> Proposed:
        """Scores and boxes of all anchors.

        Parameters
        ----------
        levels : sequence of Tensor
            Maps ``(B, D, H, W)``, fine to coarse.
        size : (int, int)
            Height and width of the network's input, px.
        """
        scores, deltas, anchors = [], [], []
        for level, stride, shapes in zip(levels, self.strides, self.shapes, strict=True):
            state = relu(self.conv(level))
            # Row by row, and for each cell all shapes, as the anchors are.
            scores.append(self.score(state).permute(0, 2, 3, 1).flatten(1).float())
            own = self.deltas(state).permute(0, 2, 3, 1).reshape(level.shape[0], -1, 4)
            deltas.append(own.float())
            cells = (level.shape[-2], level.shape[-1])
            anchors.append(anchors_of_level(cells, stride, size, shapes, level.device))
        counts = [each.shape[1] for each in scores]
        return Proposed(torch.cat(scores, 1), torch.cat(deltas, 1), torch.cat(anchors), counts)

    def boxes(self, proposed: Proposed, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The boxes of the highest scores, without those that say the same.

        Parameters
        ----------
        proposed : Proposed
            From `forward`.
        size : (int, int)
            Height and width of the network's input, px.

        Returns
        -------
        boxes : Tensor of shape (B, limit, 4)
            px, without gradient; 0 where there is no further box.
        scores : Tensor of shape (B, limit)
            From 0 to 1; 0 where there is no further box.
        """
        scores, deltas = proposed.scores.detach().sigmoid(), proposed.deltas.detach()
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        start = 0
        for number, count in enumerate(proposed.counts):
            best, at = highest(scores[:, start : start + count], min(self.per_level, count))
            at = at + start
            chosen = deltas.gather(1, at[..., None].expand(-1, -1, 4))
            boxes = cut_off(boxes_of_deltas(chosen, proposed.anchors[at]), size)
            # Boxes of different levels don't suppress one another.
            found.append((boxes, best, torch.full_like(at, number + 1)))
            start += count
        boxes, best, levels = (torch.cat(each, 1) for each in zip(*found, strict=True))
        has_area = ((boxes[..., 2:] - boxes[..., :2]) >= 1).all(-1)
        kept = suppressed(Candidates(boxes, best * has_area, levels), self.rule)
        return kept.boxes, kept.scores

    def loss(self, proposed: Proposed, targets: Sequence[Target]) -> Tensor:
        """Loss of scores and boxes, mean over the anchors that are drawn.

        Parameters
        ----------
        proposed : Proposed
            From `forward`.
        targets : sequence of Target
            One per image.
        """
        # So that every weight has a gradient, of 0 where nothing is learnt.
        total = 0.0 * (proposed.scores.sum() + proposed.deltas.sum())
        n_drawn = 0
        for scores, deltas, target in zip(proposed.scores, proposed.deltas, targets, strict=True):
            assigned = by_iou(proposed.anchors, target, low=_LOW, high=_HIGH, keeps_best=True)
            at = drawn(assigned, _DRAWN, _SHARE)
            at = at[assigned[at] >= -1]
            n_drawn += len(at)
            is_object = assigned[at] >= 0
            total = total + binary_cross_entropy_with_logits(
                scores[at], is_object.float(), reduction="sum"
            )
            at = at[is_object]
            true = deltas_of(target["boxes"][assigned[at]], proposed.anchors[at])
            total = total + smooth_l1_loss(deltas[at], true, beta=_BETA, reduction="sum")
        return total / max(n_drawn, 1)
