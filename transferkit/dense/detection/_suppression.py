"""Suppression: of boxes that say the same, the one with the highest score stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from transferkit.dense.detection._head import Candidates

__all__ = ["Detections", "Suppression", "suppressed"]


class Detections(NamedTuple):
    """Boxes of a batch, the highest score first.

    Parameters
    ----------
    boxes : Tensor of shape (B, limit, 4)
        Left, top, right and bottom edge, px of the network's input.
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
    iou : float, default=0.5
        Overlap above which a box is dropped; of ``classic``.
    sigma : float, default=0.5
        A score is multiplied by ``exp(-iou² / sigma)``; of ``soft``.
    score : float, default=0.05
        Boxes of lower scores are left out.
    limit : int, default=100
        Most boxes of an image.
    """

    method: str = "classic"
    is_class_agnostic: bool = False
    iou: float = 0.5
    sigma: float = 0.5
    score: float = 0.05
    limit: int = 100


def suppressed(candidates: Candidates, rule: Suppression) -> Detections:
    """Suppress the boxes of each image that say the same as a better one."""
    raise NotImplementedError
