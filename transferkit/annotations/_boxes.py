"""Check the boxes of files, mend what can be mended, and say what was done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations._annotations import Annotations
from transferkit.annotations._masks import Masks

__all__ = ["annotations_of_boxes", "fields_of_objects", "mended_boxes"]

TOLERANCE = 1.0
"""Boxes are cut off at the image's edges; up to this, px, nobody is told of it."""


def mended_boxes(
    boxes: NDArray[np.float64], size: tuple[int, int], names: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], list[str]]:
    """Put corners in order, cut boxes off at the image's edges, leave out those without area.

    Parameters
    ----------
    boxes : ndarray of shape (m, 4)
        Left, top, right and bottom edge of each, px.
    size : (int, int)
        The image's height and width, px.
    names : sequence of str
        What remarks call each box.

    Returns
    -------
    boxes : ndarray of shape (m, 4)
        Mended.
    kept : ndarray of bool, shape (m,)
        Which of them to keep.
    remarks : list of str
        What was wrong and what was done about it, a sentence each.

    Raises
    ------
    ValueError
        If a number isn't finite.

    Examples
    --------
    >>> boxes = np.array([[30.0, 0, 10, 5], [90, 0, 130, 5], [7, 7, 7, 9]])
    >>> mended, kept, remarks = mended_boxes(boxes, (50, 100), ["a", "b", "c"])
    >>> mended[kept].tolist()
    [[10.0, 0.0, 30.0, 5.0], [90.0, 0.0, 100.0, 5.0]]
    >>> for remark in remarks:
    ...     print(remark)
    a: the corners of its box [30, 0, 10, 5] are swapped; put in order
    b: its box [90, 0, 130, 5] leaves the image of 100 × 50 px; cut off at the edge
    c: its box [7, 7, 7, 9] has no area; left out
    """
    if not np.isfinite(boxes).all():
        bad = int((~np.isfinite(boxes)).any(axis=1).argmax())
        raise ValueError(f"{names[bad]}: its box {_shown(boxes[bad])} isn't finite; give px")
    height, width = size
    ordered = np.concatenate(
        [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1
    )
    cut = ordered.clip(0, [width, height, width, height])
    kept = np.asarray((cut[:, 2:] > cut[:, :2]).all(axis=1))
    has_area = np.asarray((ordered[:, 2:] > ordered[:, :2]).all(axis=1))
    remarks = []
    for i, box in enumerate(boxes):
        said = f"{names[i]}: "
        if (ordered[i] != box).any() and has_area[i]:
            said += f"the corners of its box {_shown(box)} are swapped; put in order"
            remarks.append(said)
            said = f"{names[i]}: "
        if not has_area[i]:
            remarks.append(f"{said}its box {_shown(box)} has no area; left out")
        elif not kept[i]:
            where = f"the image of {width} × {height} px"
            remarks.append(f"{said}its box {_shown(box)} is outside of {where}; left out")
        elif np.abs(cut[i] - ordered[i]).max() > TOLERANCE:
            where = f"the image of {width} × {height} px"
            remarks.append(f"{said}its box {_shown(box)} leaves {where}; cut off at the edge")
    return cut, kept, remarks


def annotations_of_boxes(
    size: tuple[int, int],
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    names: Sequence[str],
    *,
    scores: Sequence[float | None] = (),
    ignored: Sequence[bool] = (),
    masks: Masks | None = None,
) -> Annotations:
    """Make annotations of the boxes of an image, mended.

    Parameters
    ----------
    size : (int, int)
        The image's height and width, px.
    boxes, labels
        Edges and class of each object.
    names : sequence of str
        What remarks call each object.
    scores : sequence of (float or None), optional
        Kept if every object has one.
    ignored : sequence of bool, optional
        Kept if any object is.
    masks : Masks, optional
        Pixels of each object.
    """
    edges = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    mended, kept, remarks = mended_boxes(edges, size, names)
    fields = fields_of_objects(kept, labels, scores, ignored, masks)
    return Annotations(size, boxes=mended[kept], remarks=tuple(remarks), **fields)


def fields_of_objects(
    kept: NDArray[np.bool_],
    labels: Sequence[int],
    scores: Sequence[float | None],
    ignored: Sequence[bool],
    masks: Masks | None,
) -> dict[str, Any]:
    """Fields of `Annotations` that tell of the objects that are kept, but for their boxes.

    Scores are so if every object has one, and what is ignored if any object is.
    """
    is_scored = len(scores) == len(kept) > 0 and None not in scores
    every: dict[str, Any] = {
        "labels": np.array(labels, dtype=np.int64),
        "scores": np.array(scores, dtype=np.float64) if is_scored else None,
        "ignored": np.array(ignored, dtype=bool) if any(ignored) else None,
        "masks": masks,
    }
    return {name: None if one is None else one[kept] for name, one in every.items()}


def _shown(box: NDArray[np.float64]) -> str:
    return f"[{', '.join(f'{edge:g}' for edge in box)}]"
