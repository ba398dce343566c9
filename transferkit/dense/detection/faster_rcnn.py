"""Faster R-CNN: a network proposes boxes, and a second stage looks into each of them.

References
----------
Ren, He, Girshick, Sun (2015), "Faster R-CNN: Towards real-time object detection with region
proposal networks"; on the levels of a pyramid: Lin, Dollár, Girshick, He, Hariharan, Belongie
(2017), "Feature pyramid networks for object detection".
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, smooth_l1_loss
from torchvision.ops import box_iou, generalized_box_iou_loss

from transferkit.dense.detection._anchors import (
    check_sizes,
    suited_ratios,
    suited_sizes,
    usual_sizes,
)
from transferkit.dense.detection._assignment import BACKGROUND, LEFT_OUT, by_iou
from transferkit.dense.detection._box_heads import box_head as create_box_head
from transferkit.dense.detection._coding import boxes_of_deltas, cut_off, deltas_of
from transferkit.dense.detection._drawing import drawn
from transferkit.dense.detection._head import Candidates, DetectionHead, Target
from transferkit.dense.detection._proposals import ProposalNetwork
from transferkit.dense.detection._regions import RegionAlign, boxes_of_images
from transferkit.maps import FeatureMaps

__all__ = ["NECK", "FasterRCNNHead", "Head", "suited_options"]

NECK = "fpn"

_CELLS = 7
# What shifts and growths of boxes are multiplied by, so that they are about 1: the second stage
# starts from boxes that are near.
_SCALE = (10.0, 5.0)
_IOU = 0.5
_SHARE = 0.25


def suited_options(
    boxes: NDArray[Any], strides: Sequence[float], size: tuple[int, int]
) -> dict[str, Any]:
    """Anchors that suit the boxes; see `transferkit.dense.detection.suited_options`."""
    return {"sizes": suited_sizes(boxes, strides, 1), "ratios": suited_ratios(boxes, 3)}


class Regions(NamedTuple):
    """Boxes that the second stage learns from.

    Parameters
    ----------
    boxes : Tensor of shape (B, n, 4)
        px.
    labels : Tensor of shape (B, n)
        Class of each, 0 for background, `LEFT_OUT` for those that teach nothing.
    true : Tensor of shape (B, n, 4)
        Box of the object, where there is one; else the box itself.
    """

    boxes: Tensor
    labels: Tensor
    true: Tensor


class FasterRCNNHead(DetectionHead):
    """Proposals of all levels, then class and box of each from the features inside it."""

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[float],
        n_classes: int,
        *,
        sizes: Sequence[Sequence[float]] | None = None,
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        box_head: str = "fc",
        width: int = 256,
        per_level: int = 256,
        n_proposals: int = 256,
        n_drawn: int = 64,
        is_box_of_class: bool = False,
        x: dict = {},
    ) -> None:
        super().__init__(channels, strides, n_classes)
        if len(set(self.channels)) > 1:
            raise ValueError(
                f"the levels are {self.channels} wide, and one network proposes boxes on all of "
                "them; take a neck that makes them equally wide, such as 'fpn'"
            )
        sizes = usual_sizes(strides, 1) if sizes is None else sizes
        check_sizes(sizes, ratios, strides)
        self.n_drawn, self.is_box_of_class = n_drawn, is_box_of_class
        self.x = x
        self.proposals = ProposalNetwork(
            channels[0], strides, sizes, ratios, per_level=per_level, limit=n_proposals
        )
        self.regions = RegionAlign(strides, _CELLS, x.get("samples", 2))
        self.box_head = create_box_head(box_head, channels[0], _CELLS, width)
        self.classes = nn.Linear(width, n_classes)
        self.deltas = nn.Linear(width, 4 * (n_classes - 1 if is_box_of_class else 1))
        self.quality = nn.Linear(width, 1) if x.get("iou") else None
        nn.init.normal_(self.classes.weight, std=0.01)
        nn.init.zeros_(self.classes.bias)
        nn.init.normal_(self.deltas.weight, std=0.001)
        nn.init.zeros_(self.deltas.bias)

    def loss(self, maps: FeatureMaps, size: tuple[int, int], targets: Sequence[Target]) -> Tensor:
        """Sum of the losses of both stages; see `DetectionHead.loss`."""
        levels = self.levels(maps)
        proposed = self.proposals(levels, size)
        first = self.proposals.loss(proposed, targets)
        boxes, _ = self.proposals.boxes(proposed, size)
        regions = self._drawn(boxes, targets)
        logits, deltas, quality = self._seen(levels, regions.boxes, size)
        return first + self.x.get("w", 1.) * self._second_loss(logits, deltas, quality, regions)

    def _drawn(self, proposed: Tensor, targets: Sequence[Target]) -> Regions:
        rows = []
        for boxes, target in zip(proposed, targets, strict=True):
            known = target["labels"] > 0
            boxes = torch.cat((target["boxes"][known], boxes))
            assigned = by_iou(boxes, target, low=_IOU, high=_IOU, keeps_best=False)
            has_area = (boxes[:, 2:] > boxes[:, :2]).all(1)
            assigned = torch.where(has_area, assigned, LEFT_OUT)
            at = drawn(assigned, self.n_drawn, self.x.get("share", _SHARE))
            boxes, assigned = boxes[at], assigned[at]
            is_object = assigned >= 0
            labels = torch.where(assigned == BACKGROUND, 0, LEFT_OUT)
            true = boxes.clone()
            labels[is_object] = target["labels"][assigned[is_object]]
            true[is_object] = target["boxes"][assigned[is_object]]
            rows.append((boxes, labels, true))
        return Regions(*(torch.stack(each) for each in zip(*rows, strict=True)))

    def _seen(self, levels, boxes, size):
        state = self.box_head(self.regions(levels, boxes_of_images(boxes), size))
        b, n = boxes.shape[:2]
        logits = self.classes(state).float().reshape(b, n, -1)
        deltas = self.deltas(state).float().reshape(b, n, -1, 4)
        q = self.quality(state).float().reshape(b, n) if self.quality is not None else None
        return logits, deltas, q

    def _second_loss(self, logits, deltas, q, regions) -> Tensor:
        labels = regions.labels
        known, obj = labels >= 0, labels > 0
        n = known.sum().clamp(min=1)
        total = 0.0 * (logits.sum() + deltas.sum())
        x = self.x
        own = deltas[obj]
        col = (labels[obj] - 1) if self.is_box_of_class else torch.zeros_like(labels[obj])
        own = own.gather(1, col[:, None, None].expand(-1, 1, 4))[:, 0]
        boxes, true = regions.boxes[obj], regions.true[obj]
        new = boxes_of_deltas(own, boxes, _SCALE)
        if x.get("soft"):
            # quality-focal-like: soft target of the object's class is its IoU after regression
            iou = torch.diagonal(box_iou(new.detach(), true)) if len(new) else new.new_zeros(0)
            t = torch.nn.functional.one_hot(labels.clamp(min=0), self.n_classes).float()
            tt = t[obj] * iou[:, None]
            tt[:, 0] = 1 - iou
            t[obj] = tt
            ce = -(t * logits.log_softmax(-1)).sum(-1)
            total = total + (ce * known).sum() / n
        else:
            total = total + cross_entropy(logits[known], labels[known], reduction="sum") / n
        if x.get("box") == "giou":
            norm = n if x.get("norm", "all") == "all" else obj.sum().clamp(min=1)
            total = total + x.get("bw", 1.0) * generalized_box_iou_loss(new, true, reduction="sum") / norm
        else:
            total = total + x.get("bw", 1.0) * smooth_l1_loss(own, deltas_of(true, boxes, _SCALE), beta=x.get("beta", 1.0), reduction="sum") / n
        if q is not None:
            iou = torch.diagonal(box_iou(new.detach(), true)) if len(new) else new.new_zeros(0)
            total = total + 0 * q.sum() + torch.nn.functional.binary_cross_entropy_with_logits(q[obj], iou, reduction="sum") / n
        return total

    def candidates(self, maps: FeatureMaps, size: tuple[int, int]) -> Candidates:
        """Each proposal once for each class; see `DetectionHead.candidates`."""
        levels = self.levels(maps)
        boxes, scores = self.proposals.boxes(self.proposals(levels, size), size)
        p = 0
        R = self.x.get("refine", 1)
        for r in range(R):
            logits, deltas, q = self._seen(levels, boxes, size)
            p = p + logits.softmax(-1)[..., 1:]
            new = cut_off(boxes_of_deltas(deltas, boxes[:, :, None], _SCALE), size)
            if r + 1 < R:
                boxes = new[:, :, 0]
        p = p / R
        n_classes = self.n_classes - 1
        if q is not None:
            p = p * q.sigmoid()[..., None] ** self.x.get("qpow", 1.0)
        if self.x.get("rpn"):
            p = (p * scores[..., None] ** self.x["rpn"])
        p = p * (scores > 0)[..., None]
        new = new.expand(-1, -1, n_classes, -1)
        labels = torch.arange(1, self.n_classes, device=p.device).expand_as(p)
        return Candidates(new.flatten(1, 2), p.flatten(1), labels.flatten(1))


Head = FasterRCNNHead
