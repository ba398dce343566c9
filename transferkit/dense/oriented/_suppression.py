"""Suppression of oriented boxes: of those that say the same, the highest score stays."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from transferkit.dense.detection import Suppression
from transferkit.dense.detection._suppression import best_of, softened
from transferkit.dense.objects import Candidates
from transferkit.metrics._clipping import paired_oriented_ious

__all__ = ["OrientedDetections", "suppressed_oriented"]


class OrientedDetections(NamedTuple):
    """Oriented boxes of a batch, the highest score first.

    Parameters
    ----------
    boxes : Tensor of shape (B, limit, 5)
        See `transferkit.images.oriented`, px of the network's input; 0 where there is no further
        box.
    scores : Tensor of shape (B, limit)
        From 0 to 1; 0 where there is no further box.
    labels : Tensor of shape (B, limit)
        int64, classes from 1; 0 where there is no further box.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def suppressed_oriented(candidates: Candidates, rule: Suppression) -> OrientedDetections:
    """Suppress the oriented boxes of each image that say the same as a better one.

    Parameters
    ----------
    candidates : Candidates
        Of a batch, with oriented boxes.
    rule : Suppression
        How.

    Returns
    -------
    OrientedDetections
        ``rule.limit`` for each image, whatever is on it.
    """
    boxes, scores = candidates.boxes.float(), candidates.scores.float()
    usable = Candidates(boxes, scores * (scores >= rule.score), candidates.labels)
    if rule.method == "soft":
        return OrientedDetections(*softened(usable, rule, paired_oriented_ious))
    labels = candidates.labels
    groups = torch.zeros_like(labels) if rule.is_class_agnostic else labels
    stay = survivors(usable.boxes, usable.scores, groups, rule.iou)
    return OrientedDetections(*best_of(usable._replace(scores=usable.scores * stay), rule.limit))


def survivors(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float) -> Tensor:
    stay = torch.zeros_like(scores, dtype=torch.bool)
    for b in range(len(boxes)):
        order = scores[b].argsort(descending=True, stable=True)
        order = order[scores[b][order] > 0]
        box, group = boxes[b][order], groups[b][order]
        radius = box[:, 2:4].norm(dim=1) / 2
        gone = torch.zeros(len(order), dtype=torch.bool)
        for i in range(len(order)):
            if gone[i]:
                continue
            stay[b, order[i]] = True
            near = ~gone[i + 1 :] & (group[i + 1 :] == group[i])
            near &= (box[i + 1 :, :2] - box[i, :2]).norm(dim=1) < radius[i + 1 :] + radius[i]
            at = near.nonzero()[:, 0] + i + 1
            if len(at):
                gone[at] = paired_oriented_ious(box[at], box[i].expand(len(at), 5)) > iou
    return stay
