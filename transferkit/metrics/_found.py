"""Objects that nobody found, and detections that found none: what a picture shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import Annotations
from transferkit.metrics._masks import MASKS
from transferkit.metrics._matching import BOXES, MISS, Shapes, matched
from transferkit.metrics._oriented import ORIENTED

__all__ = ["found_and_missed"]

Array = NDArray[Any]


def found_and_missed(
    predicted: Annotations, truth: Annotations, *, shapes: Shapes | None = None
) -> tuple[Array, Array]:
    """Say which objects of an image nobody found, and which detections found none.

    Parameters
    ----------
    predicted, truth
        As in `transferkit.metrics._matching.matched`; every predicted object is looked at.
    shapes : Shapes, optional
        What overlap is measured on. If not given, what both hold that tells most of where an
        object is: masks, else oriented boxes, else upright ones.

    Returns
    -------
    (ndarray of bool, ndarray of bool)
        Whether each true object is missed, and whether each predicted one is false, at an
        overlap of 0.5. Those that count neither way are neither.

    Examples
    --------
    >>> truth = Annotations((9, 9), boxes=np.array([[0.0, 0, 4, 4]]), labels=np.array([1]))
    >>> boxes, scores = np.array([[5.0, 5, 9, 9], [0, 0, 4, 4]]), np.array([0.6, 0.5])
    >>> found = Annotations((9, 9), boxes=boxes, labels=np.array([1, 1]), scores=scores)
    >>> [part.tolist() for part in found_and_missed(found, truth)]
    [[False], [True, False]]
    """
    assert predicted.labels is not None
    if shapes is None:
        shapes = next((s for s in (MASKS, ORIENTED) if _both_hold(s, predicted, truth)), BOXES)
    matches = matched(predicted, truth, limit=len(predicted.labels), shapes=shapes)
    is_missed = matches.counts[:, 0].copy()
    is_missed[matches.partners[matches.partners >= 0]] = False
    is_false = np.zeros(len(predicted.labels), dtype=bool)
    is_false[matches.kept] = matches.outcomes[:, 0, 0] == MISS
    return is_missed, is_false


def _both_hold(shapes: Shapes, *annotations: Annotations) -> bool:
    return all(getattr(one, shapes.held) is not None for one in annotations)
