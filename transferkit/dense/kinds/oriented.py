"""Objects of oriented detection: turned rectangles.

Only a frame that scales both axes alike keeps a rectangle a rectangle; see
`transferkit.images.Frame.forward_oriented`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from transferkit.annotations import VOID, Annotations
from transferkit.dense.kinds._kind import ObjectKind
from transferkit.dense.oriented import OrientedDetections, OrientedTarget
from transferkit.dense.targets import LEAST_VISIBLE
from transferkit.images import Frame, canonical_oriented, corners_of_oriented, upright_of_oriented
from transferkit.metrics import ORIENTED
from transferkit.metrics._clipping import paired_oriented_ious

__all__ = ["KIND"]

# IoU from which two pieces tell the same of an object.
_AGREEING = 0.7
# Sides below this many px of the input are no rectangle that can be learnt.
_LEAST_SIDE = 1e-3


def _held(annotations: Annotations) -> Annotations:
    return dataclasses.replace(annotations, masks=None, map=None)


def _target(annotations: Annotations, frame: Frame, size: tuple[int, int]) -> OrientedTarget:
    """Oriented boxes of an image as a head learns them.

    An object of which nothing is seen is left out; one that is ignored, or of which too little
    is seen, has the label `VOID`.
    """
    assert annotations.oriented is not None
    assert annotations.labels is not None
    oriented = frame.forward_oriented(annotations.oriented)
    seen = _seen(oriented, size)
    labels = np.asarray(annotations.labels).astype(np.int64)
    if annotations.ignored is not None:
        labels = np.where(annotations.ignored, VOID, labels)
    labels = np.where(seen < LEAST_VISIBLE, VOID, labels)
    kept = (seen > 0) & (oriented[:, 2:4] > _LEAST_SIDE).all(1)
    return OrientedTarget(
        boxes=torch.from_numpy(_cut_off(oriented[kept], size).astype(np.float32)),
        labels=torch.from_numpy(labels[kept]),
        oriented=torch.from_numpy(oriented[kept].astype(np.float32)),
    )


def _found(found: OrientedDetections, i: int, frame: Frame, size: tuple[int, int]) -> Annotations:
    """Detections of one image of a batch, in its px; upright boxes are cut off at its edges."""
    kept = found.scores[i] > 0
    oriented, scores, labels = (each[i][kept].cpu().numpy() for each in found)
    oriented = frame.back_oriented(oriented.astype(np.float64))
    boxes = _cut_off(oriented, size)
    # With a border around the image, a box may lie outside of it.
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return Annotations(
        size,
        boxes=boxes[inside],
        oriented=oriented[inside],
        labels=labels[inside],
        scores=scores[inside],
    )


def _truth(target: OrientedTarget, size: tuple[int, int]) -> Annotations:
    labels = target["labels"].numpy()
    return Annotations(
        size,
        boxes=target["boxes"].numpy().astype(np.float64),
        oriented=target["oriented"].numpy().astype(np.float64),
        # An object that is ignored has no class any more; it may stand for any one.
        labels=np.where(labels < 0, 1, labels),
        ignored=labels < 0,
    )


def _shifted(target: OrientedTarget, x: float, y: float, size: tuple[int, int]) -> OrientedTarget:
    shift = torch.tensor([x, y, x, y], dtype=torch.float32)
    return OrientedTarget(
        boxes=target["boxes"] + shift,
        labels=target["labels"],
        oriented=target["oriented"] + torch.cat((shift[:2], torch.zeros(3))),
    )


def _united(pieces: Annotations) -> Annotations:
    """The smallest rectangle around all pieces that is turned as one of them is."""
    # A head may tell in full of what is cut off. Pieces that agree with the best one say no more.
    ious = ORIENTED.overlaps(pieces, pieces.select([0]), np.zeros(1, dtype=bool))[:, 0]
    is_further = ious < _AGREEING
    is_further[0] = True
    pieces = pieces.select(is_further)
    assert pieces.oriented is not None
    assert pieces.boxes is not None
    points = corners_of_oriented(pieces.oriented).reshape(-1, 2)
    rectangles = np.concatenate([_around(points, angle) for angle in pieces.oriented[:, 4]])
    smallest = rectangles[:, 2:4].prod(1).argmin()
    around = np.concatenate([pieces.boxes[:, :2].min(0), pieces.boxes[:, 2:].max(0)])
    oriented = rectangles[smallest, None]
    return dataclasses.replace(pieces.select([0]), oriented=oriented, boxes=around[None])


def _around(points: NDArray[Any], angle: float) -> NDArray[np.float64]:
    """The rectangle (1, 5) of an angle around points."""
    turn = np.deg2rad(angle)
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    at = points @ axes.T
    low, high = at.min(0), at.max(0)
    return canonical_oriented([[*((low + high) / 2 @ axes), *(high - low), angle]])


def _cut_off(oriented: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
    """Upright boxes around oriented ones, cut off at an image's edges."""
    height, width = size
    boxes: NDArray[np.float64] = upright_of_oriented(oriented).clip(
        0, [width, height, width, height]
    )
    return boxes


def _seen(oriented: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
    """Share of each oriented box's area that lies within the input."""
    height, width = size
    whole = torch.tensor([width / 2, height / 2, width, height, 0.0], dtype=torch.float64)
    ious = paired_oriented_ious(torch.from_numpy(oriented), whole).numpy()
    areas = oriented[:, 2:4].prod(1)
    shared = ious * (areas + height * width) / (1 + ious)
    seen: NDArray[np.float64] = shared / np.maximum(areas, 1e-9)
    return seen


KIND = ObjectKind(
    held=_held,
    target=_target,
    found=_found,
    truth=_truth,
    shifted=_shifted,
    united=_united,
    shapes=ORIENTED,
)
