"""Suppression: of boxes that say the same, the one with the highest score stays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from transferkit.dense.detection._order import highest
from transferkit.dense.detection._survivors import survivors
from transferkit.dense.objects import Candidates
from transferkit.registry import unknown

__all__ = ["SUPPRESSIONS", "Detections", "Suppression", "best_of", "softened", "suppressed"]

SUPPRESSIONS = ("classic", "soft")
"""Ways of suppression."""


class Detections(NamedTuple):
    """Boxes of a batch, the highest score first.

    Parameters
    ----------
    boxes : Tensor of shape (B, limit, 4)
        Left, top, right and bottom edge, px of the network's input; 0 where there is no further
        box.
    scores : Tensor of shape (B, limit)
        From 0 to 1; 0 where there is no further box.
    labels : Tensor of shape (B, limit)
        int64, classes from 1; 0 where there is no further box.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Suppression:
    """How boxes that say the same are suppressed, and which are left out.

    Parameters
    ----------
    method : {"classic", "soft"}, default="classic"
        Whether a box that overlaps with a better one is dropped, or loses score.
    is_class_agnostic : bool, default=False
        Whether boxes of different classes suppress one another.
    iou : float, default=0.6
        Overlap above which a box is dropped; of ``classic``.
    sigma : float, default=0.5
        A score is multiplied by ``exp(-iou² / sigma)``; of ``soft``.
    score : float, default=0.001
        Boxes of lower scores are left out; average precision gains by many.
    limit : int, default=100
        Most boxes of an image.

    Raises
    ------
    ValueError
        If a value isn't allowed.
    """

    method: str = "classic"
    is_class_agnostic: bool = False
    iou: float = 0.6
    sigma: float = 0.5
    score: float = 0.001
    limit: int = 100

    def __post_init__(self) -> None:
        if self.method not in SUPPRESSIONS:
            raise unknown("suppression", self.method, SUPPRESSIONS)
        if not 0 <= self.iou <= 1:
            raise ValueError(f"iou of suppression is {self.iou}; give 0 to 1, such as 0.5")
        if not 0 < self.sigma < math.inf:
            raise ValueError(f"sigma of soft suppression is {self.sigma}; give a number above 0")
        if not 0 <= self.score <= 1:
            raise ValueError(f"the least score of a box is {self.score}; give 0 to 1, such as 0.05")
        if isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 1:
            raise ValueError(f"limit is {self.limit!r} boxes an image; give 1 or more, such as 100")


def suppressed(candidates: Candidates, rule: Suppression) -> Detections:
    """Suppress the boxes of each image that say the same as a better one.

    Parameters
    ----------
    candidates : Candidates
        Of a batch.
    rule : Suppression
        How.

    Returns
    -------
    Detections
        ``rule.limit`` for each image, whatever is on it.

    Examples
    --------
    >>> boxes = torch.tensor([[[0.0, 0, 8, 8], [0, 0, 8, 7], [8, 8, 9, 9]]])
    >>> found = Candidates(boxes, torch.tensor([[0.9, 0.8, 0.7]]), torch.tensor([[1, 1, 2]]))
    >>> suppressed(found, Suppression(limit=4)).labels.tolist()
    [[1, 2, 0, 0]]
    >>> suppressed(found, Suppression("soft", limit=4)).scores.tolist()
    [[0.899..., 0.699..., 0.173..., 0.0]]
    """
    # IoUs of half-precision boxes would be off by percents.
    boxes, scores = candidates.boxes.float(), candidates.scores.float()
    usable = Candidates(boxes, scores * (scores >= rule.score), candidates.labels)
    if rule.method == "soft":
        return Detections(*softened(usable, rule, _ious))
    labels = candidates.labels
    groups = torch.zeros_like(labels) if rule.is_class_agnostic else labels
    stay = survivors(usable.boxes, usable.scores, groups, rule.iou)
    return Detections(*best_of(usable._replace(scores=usable.scores * stay), rule.limit))


def best_of(candidates: Candidates, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes of the highest scores, or 0 where there are too few of a score above 0.

    Parameters
    ----------
    candidates : Candidates
        Upright or oriented ones; those that are suppressed have a score of 0.
    limit : int
        How many of each image.

    Returns
    -------
    boxes, scores, labels : Tensor
        As `Detections` has them.
    """
    n = min(limit, candidates.scores.shape[1])
    scores, at = highest(candidates.scores, n)
    is_box = scores > 0
    boxes = _taken(candidates.boxes, at) * is_box[..., None]
    labels = candidates.labels.gather(1, at) * is_box
    lacking = (0, limit - n)
    return pad(boxes, (0, 0, *lacking)), pad(scores, lacking), pad(labels, lacking)


def softened(
    candidates: Candidates, rule: Suppression, ious: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the best box ``limit`` times; those that overlap with it lose score each time.

    Bodla, Singh, Chellappa, Davis (2017), "Soft-NMS", equation 4.

    Parameters
    ----------
    candidates : Candidates
        Upright or oriented ones.
    rule : Suppression
        How.
    ious : callable
        IoUs ``(B, n)`` of all boxes with one of each image, ``(B, 1, …)``.

    Returns
    -------
    boxes, scores, labels : Tensor
        As `Detections` has them.
    """
    boxes, scores, labels = candidates
    taken: list[tuple[Tensor, Tensor]] = []
    for _ in range(min(rule.limit, scores.shape[1])):
        score, at = scores.max(1, keepdim=True)
        factor = torch.exp(-(ious(boxes, _taken(boxes, at)) ** 2) / rule.sigma)
        if not rule.is_class_agnostic:
            factor = torch.where(labels == labels.gather(1, at), factor, 1.0)
        taken.append((score, at))
        scores = (scores * factor).scatter(1, at, 0.0)
    score, at = (torch.cat(each, 1) for each in zip(*taken, strict=True))
    chosen = Candidates(
        _taken(boxes, at),
        score * (score >= rule.score),
        labels.gather(1, at),
    )
    return best_of(chosen, rule.limit)


def _taken(boxes: Tensor, at: Tensor) -> Tensor:
    """Boxes at some places of each image, ``(B, k)``."""
    return boxes.gather(1, at[..., None].expand(-1, -1, boxes.shape[-1]))


def _ious(boxes: Tensor, one: Tensor) -> Tensor:
    """IoU of all boxes ``(B, n, 4)`` with one of each image ``(B, 1, 4)``, ``(B, n)``."""
    low, high = torch.maximum(boxes[..., :2], one[..., :2]), torch.minimum(boxes, one)[..., 2:]
    shared = (high - low).clamp(min=0).prod(-1)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1) + (one[..., 2:] - one[..., :2]).prod(-1)
    return shared / (areas - shared).clamp(min=1e-9)
