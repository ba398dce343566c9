"""Suppression of oriented boxes: of those that say the same, the highest score stays."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from transferkit.dense.detection import Suppression
from transferkit.dense.detection._order import highest
from transferkit.dense.detection._suppression import best_of, softened
from transferkit.dense.objects import Candidates
from transferkit.dense.oriented._survivors import survivors_of_overlaps
from transferkit.metrics._clipping import oriented_ious, paired_oriented_ious

__all__ = ["OrientedDetections", "suppressed_oriented"]


# Candidates that are compared with one another, the best ones, for each that may stay.
_COMPARED_PER_KEPT = 5


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

    Examples
    --------
    >>> boxes = torch.tensor([[[9.0, 9, 8, 4, 0], [9, 9, 8, 4, 10], [9, 9, 8, 4, 90]]])
    >>> found = Candidates(boxes, torch.tensor([[0.9, 0.8, 0.7]]), torch.tensor([[1, 1, 1]]))
    >>> suppressed_oriented(found, Suppression(limit=3)).boxes[0, :, 4].tolist()
    [0.0, 90.0, 0.0]
    """
    scores = candidates.scores.float()
    n = min(_COMPARED_PER_KEPT * rule.limit, scores.shape[1])
    scores, at = highest(scores * (scores >= rule.score), n)
    # Overlaps of half-precision boxes would be off by percents.
    boxes = candidates.boxes.float().gather(1, at[..., None].expand(-1, -1, 5))
    best = Candidates(boxes, scores, candidates.labels.gather(1, at))
    if rule.method == "soft":
        return OrientedDetections(*softened(best, rule, paired_oriented_ious))
    groups = torch.zeros_like(best.labels) if rule.is_class_agnostic else best.labels
    stay = survivors_of_overlaps(oriented_ious(boxes, boxes), scores, groups, rule.iou)
    return OrientedDetections(*best_of(best._replace(scores=scores * stay), rule.limit))
