"""Objects of detection: upright boxes."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from transferkit.annotations import Annotations
from transferkit.dense.detection import Detections, Target
from transferkit.dense.kinds._kind import ObjectKind
from transferkit.dense.targets import object_target
from transferkit.images import Frame
from transferkit.metrics import BOXES

__all__ = ["KIND"]


def _held(annotations: Annotations) -> Annotations:
    return dataclasses.replace(annotations, masks=None, oriented=None, map=None)


def _found(found: Detections, i: int, frame: Frame, size: tuple[int, int]) -> Annotations:
    """Detections of one image of a batch, in its px, cut off at its edges."""
    kept = found.scores[i] > 0
    boxes, scores, labels = (each[i][kept].cpu().numpy() for each in found)
    height, width = size
    boxes = frame.back_boxes(boxes.astype(np.float64)).clip(0, [width, height, width, height])
    # With a border around the image, a box may lie outside of it.
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return Annotations(size, boxes=boxes[inside], labels=labels[inside], scores=scores[inside])


def _truth(target: Target, size: tuple[int, int]) -> Annotations:
    labels = target["labels"].numpy()
    return Annotations(
        size,
        boxes=target["boxes"].numpy().astype(np.float64),
        # An object that is ignored has no class any more; it may stand for any one.
        labels=np.where(labels < 0, 1, labels),
        ignored=labels < 0,
    )


def _shifted(target: Target, x: float, y: float, size: tuple[int, int]) -> Target:
    return Target(
        boxes=target["boxes"] + torch.tensor([x, y, x, y], dtype=torch.float32),
        labels=target["labels"],
    )


def _united(pieces: Annotations) -> Annotations:
    """The smallest box around all pieces."""
    assert pieces.boxes is not None
    around = np.concatenate([pieces.boxes[:, :2].min(0), pieces.boxes[:, 2:].max(0)])
    return dataclasses.replace(pieces.select([0]), boxes=around[None])


KIND = ObjectKind(
    held=_held,
    target=object_target,
    found=_found,
    truth=_truth,
    shifted=_shifted,
    united=_united,
    shapes=BOXES,
)
