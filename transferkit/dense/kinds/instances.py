"""Objects of instance segmentation: upright boxes with a mask."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from transferkit.annotations import VOID, Annotations, Masks
from transferkit.annotations._regions import united_regions
from transferkit.dense.instances import InstanceDetections, InstanceTarget
from transferkit.dense.instances._coverage import CELLS, covered_cells, painted
from transferkit.dense.kinds._kind import ObjectKind
from transferkit.dense.targets import seen_objects
from transferkit.images import Frame
from transferkit.metrics import MASKS

__all__ = ["KIND"]


class _Held(NamedTuple):
    """Objects of an image: its annotations without masks, and these on grids over their spans."""

    annotations: Annotations
    masks: Tensor
    spans: np.ndarray


def _held(annotations: Annotations) -> _Held:
    masks = annotations.masks
    assert masks is not None
    boxes = masks.boxes if annotations.boxes is None else annotations.boxes
    # Of an object without a pixel there is nothing to learn, nor is it background.
    ignored = masks.areas == 0
    if annotations.ignored is not None:
        ignored = ignored | annotations.ignored
    bare = dataclasses.replace(
        annotations, boxes=boxes, ignored=ignored, masks=None, oriented=None, map=None
    )
    return _Held(bare, covered_cells(masks), masks.boxes)


def _target(held: _Held, frame: Frame, size: tuple[int, int]) -> InstanceTarget:
    """Objects as an instance head learns them; views of the same image share their masks."""
    target, kept = seen_objects(held.annotations, frame, size)
    masks = held.masks.transpose(1, 2) if frame.is_transposed else held.masks
    spans = frame.forward_points(held.spans.reshape(-1, 2)).reshape(-1, 4)
    return InstanceTarget(
        boxes=target["boxes"],
        labels=target["labels"],
        masks=masks if kept.all() else masks[torch.from_numpy(kept)],
        spans=torch.from_numpy(spans[kept].astype(np.float32)),
    )


def _found(found: InstanceDetections, i: int, frame: Frame, size: tuple[int, int]) -> Annotations:
    """Objects of one image of a batch, in its px; those without a pixel there are left out."""
    kept = found.scores[i] > 0
    boxes, scores, labels, masks = (each[i][kept].cpu().numpy() for each in found)
    spans = frame.back_points(boxes.reshape(-1, 2).astype(np.float64)).reshape(-1, 4)
    if frame.is_transposed:
        masks = masks.swapaxes(1, 2)
    regions = [painted(*each, size) for each in zip(masks, spans, strict=True)]
    height, width = size
    own = frame.back_boxes(boxes.astype(np.float64)).clip(0, [width, height, width, height])
    told = Annotations(size, boxes=own, labels=labels, scores=scores, masks=Masks(size, regions))
    return told.select([k for k, region in enumerate(regions) if region.area])


def _truth(target: InstanceTarget, size: tuple[int, int]) -> Annotations:
    labels = target["labels"].numpy()
    masks, spans = target["masks"].numpy() / 255, target["spans"].numpy()
    return Annotations(
        size,
        boxes=target["boxes"].numpy().astype(np.float64),
        # An object that is ignored has no class any more; it may stand for any one.
        labels=np.where(labels == VOID, 1, labels),
        ignored=labels == VOID,
        masks=Masks(size, [painted(*each, size) for each in zip(masks, spans, strict=True)]),
    )


def _shifted(target: InstanceTarget, x: float, y: float, size: tuple[int, int]) -> InstanceTarget:
    masks, spans = target["masks"], target["spans"]
    # What lies outside of the former input isn't seen.
    share = (torch.arange(CELLS) + 0.5) / CELLS
    corner, far = spans[:, None, :2], spans[:, None, 2:]
    at = corner + share[:, None] * (far - corner)
    is_inside = (at >= 0) & (at <= torch.tensor([size[1], size[0]]))
    columns, rows = is_inside.unbind(2)
    shift = torch.tensor([x, y, x, y], dtype=torch.float32)
    return InstanceTarget(
        boxes=target["boxes"] + shift,
        labels=target["labels"],
        masks=masks * (rows[:, :, None] & columns[:, None]),
        spans=spans + shift,
    )


def _united(pieces: Annotations) -> Annotations:
    """The pixels of all pieces, and the smallest box around theirs."""
    assert pieces.masks is not None
    assert pieces.boxes is not None
    masks = Masks(pieces.size, [united_regions(pieces.masks.regions)])
    around = np.concatenate([pieces.boxes[:, :2].min(0), pieces.boxes[:, 2:].max(0)])
    return dataclasses.replace(pieces.select([0]), masks=masks, boxes=around[None])


KIND = ObjectKind(
    held=_held,
    target=_target,
    found=_found,
    truth=_truth,
    shifted=_shifted,
    united=_united,
    shapes=MASKS,
)
