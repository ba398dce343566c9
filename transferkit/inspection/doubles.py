"""Find objects of an image that were marked twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import Annotations
from transferkit.inspection.findings import Finding

__all__ = ["doubled_boxes"]

# Two boxes that share more than this of their union are of one object. Objects side by side stay
# below 0.6 in all data sets that were looked at, and doubles are above 0.8.
_SAME = 0.7
# What the upright boxes around two such oriented boxes share at least.
_NEAR = 0.4


def doubled_boxes(image: int, annotations: Annotations, classes: Sequence[str]) -> list[Finding]:
    """Pairs of objects of an image that overlap so much that they are likely one.

    Masks are compared if there are any, else oriented boxes, else boxes. An object is told once,
    with the one that it is most like.

    Parameters
    ----------
    image : int
        Its position.
    annotations : Annotations
        With labels.
    classes : sequence of str
        Names of the classes, by number.
    """
    if annotations.labels is None or len(annotations.labels) < 2:
        return []
    overlaps, boxes = _overlaps(annotations)
    if annotations.ignored is not None:
        overlaps[annotations.ignored] = 0
        overlaps[:, annotations.ignored] = 0
    findings = []
    pairs = np.argwhere(np.triu(overlaps > _SAME, 1))
    told: set[int] = set()
    for one, other in sorted(pairs.tolist(), key=lambda pair: -overlaps[tuple(pair)]):
        if other in told:
            continue
        told.add(other)
        names = [classes[int(annotations.labels[i])] for i in (one, other)]
        share = float(overlaps[one, other])
        what = f"two boxes of {names[0]}" if names[0] == names[1] else f"{names[0]} and {names[1]}"
        same = "are the same" if share > 0.999 else f"share {share:.0%} of their area"
        left, top, right, bottom = map(float, boxes[other])
        findings.append(
            Finding("doubled box", image, share, f"{what} {same}", box=(left, top, right, bottom))
        )
    return findings


def _overlaps(annotations: Annotations) -> tuple[NDArray[Any], NDArray[Any]]:
    """Intersections over unions of all pairs of objects, and their upright boxes."""
    from transferkit.metrics import box_overlaps, oriented_overlaps

    if annotations.masks is not None:
        return annotations.masks.overlaps(annotations.masks), annotations.masks.boxes
    boxes = np.asarray(annotations.boxes, dtype=np.float64)
    overlaps = box_overlaps(boxes, boxes)
    if annotations.oriented is not None:
        # Exact overlaps take long; boxes that are alike have upright ones that are.
        is_near = np.triu(overlaps > _NEAR, 1)
        near = np.flatnonzero(is_near.any(0) | is_near.any(1))
        chosen = np.asarray(annotations.oriented)[near]
        overlaps = np.zeros_like(overlaps)
        if len(near):
            overlaps[np.ix_(near, near)] = oriented_overlaps(chosen, chosen)
    return overlaps, boxes
