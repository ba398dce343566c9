"""Targets of detection: the true objects of an image, in the px of the network's input."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from transferkit.annotations import VOID, Annotations
from transferkit.dense.detection import Target
from transferkit.images import Frame

__all__ = ["LEAST_VISIBLE", "object_target", "seen_objects"]

LEAST_VISIBLE = 0.3
"""Share of an object's area that has to be seen; with less of it the object is ignored."""


def object_target(
    annotations: Annotations, frame: Frame, size: tuple[int, int], *, least: float = LEAST_VISIBLE
) -> Target:
    """Objects of an image as a detection head learns them.

    Boxes are cut off at the input's edges. An object of which nothing is seen is left out; one
    that is ignored in the annotations, or of which too little is seen, has the label `VOID`.

    Parameters
    ----------
    annotations : Annotations
        With boxes and labels, in the image's px.
    frame : Frame
        From the image's px to the input's.
    size : (int, int)
        Height and width of the input, px.
    least : float, default=LEAST_VISIBLE
        Share of the area that has to be seen.

    Examples
    --------
    >>> import numpy as np
    >>> boxes = np.array([[0.0, 0.0, 4.0, 4.0], [6.0, 0.0, 16.0, 4.0]])
    >>> truth = Annotations((8, 20), boxes=boxes, labels=np.array([1, 2]))
    >>> target = object_target(truth, Frame(), (8, 8))
    >>> target["boxes"].tolist(), target["labels"].tolist()
    ([[0.0, 0.0, 4.0, 4.0], [6.0, 0.0, 8.0, 4.0]], [1, -1])
    """
    return seen_objects(annotations, frame, size, least=least)[0]


def seen_objects(
    annotations: Annotations, frame: Frame, size: tuple[int, int], *, least: float = LEAST_VISIBLE
) -> tuple[Target, NDArray[np.bool_]]:
    """Objects as `object_target` makes them, and which of the annotated ones they are.

    Parameters
    ----------
    annotations, frame, size, least
        As for `object_target`.
    """
    assert annotations.boxes is not None
    assert annotations.labels is not None
    whole = frame.forward_boxes(annotations.boxes)
    height, width = size
    boxes = whole.clip(0, [width, height, width, height])
    seen, areas = (np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (boxes, whole))
    labels = np.asarray(annotations.labels).astype(np.int64)
    if annotations.ignored is not None:
        labels = np.where(annotations.ignored, VOID, labels)
    labels = np.where(seen < least * areas, VOID, labels)
    kept = (seen > 0) & (areas > 0)
    target = Target(
        boxes=torch.from_numpy(boxes[kept].astype(np.float32)),
        labels=torch.from_numpy(labels[kept]),
    )
    return target, kept
