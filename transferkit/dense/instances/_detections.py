"""What instance heads take and give."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from transferkit.dense.objects import Target

__all__ = ["InstanceDetections", "InstanceTarget"]


class InstanceTarget(Target):
    """The true objects of one image, with their masks.

    ``masks`` are uint8 ``(m, CELLS, CELLS)``, the share of each cell that the object covers, from
    0 to 255. ``spans`` are float32 ``(m, 4)``: where their left, top, right and bottom edges are,
    px of the network's input. They aren't cut off at its edges, and run backwards where it is
    mirrored.
    """

    masks: Tensor
    spans: Tensor


class InstanceDetections(NamedTuple):
    """Objects of a batch, the highest score first.

    Parameters
    ----------
    boxes, scores, labels
        As of `transferkit.dense.detection.Detections`.
    masks : Tensor of shape (B, limit, 28, 28)
        Probability of each cell of the box to be of the object; 0 where there is no further box.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor
