"""Match the objects that were found in an image with those that are there, as COCO does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import Annotations
from transferkit.metrics._boxes import box_areas, box_overlaps

__all__ = [
    "AREAS",
    "BOXES",
    "HIT",
    "IGNORED",
    "MISS",
    "THRESHOLDS",
    "Matches",
    "Shapes",
    "found_and_missed",
    "greedy_partners",
    "matched",
]

Array = NDArray[Any]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps from which on an object counts as found."""
AREAS = {
    "all": (0.0, np.inf),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, np.inf),
}
"""Ranges of area, px² of the image; an object on a border is in both."""
MISS, HIT, IGNORED = 0, 1, 2


@dataclass(frozen=True)
class Shapes:
    """What the overlap and the area of objects are measured on.

    Parameters
    ----------
    overlaps : callable
        Predicted and true annotations, and which of the true ones are crowds → overlaps from 0
        to 1, of shape (predicted, true); see `box_overlaps`.
    areas : callable
        Annotations → area of each object, px².
    """

    overlaps: Callable[[Annotations, Annotations, Array], Array]
    areas: Callable[[Annotations], Array]


def _boxes(annotations: Annotations) -> Array:
    assert annotations.boxes is not None
    return np.asarray(annotations.boxes, dtype=np.float64)


BOXES = Shapes(
    overlaps=lambda found, true, is_crowd: box_overlaps(_boxes(found), _boxes(true), is_crowd),
    areas=lambda one: box_areas(_boxes(one)),
)


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of the objects of one image.

    Parameters
    ----------
    kept : ndarray of int, shape (m,)
        Which predicted objects are measured, the highest score first.
    places : ndarray of int, shape (m,)
        How many of its class stand before each of them.
    outcomes : ndarray of uint8, shape (m, areas, thresholds)
        `HIT`, `MISS` or `IGNORED`, for each of `AREAS` and `THRESHOLDS`.
    partners : ndarray of int, shape (m,)
        True object that each one finds at the first threshold, of any area; -1 if none.
    counts : ndarray of bool, shape (k, areas)
        Whether each true object is to be found.
    confused : tuple of (ndarray, ndarray, ndarray)
        Pairs of a predicted and a true object of different classes that overlap by the first
        threshold or more, and their overlap.
    """

    kept: Array
    places: Array
    outcomes: Array
    partners: Array
    counts: Array
    confused: tuple[Array, Array, Array]


def matched(
    predicted: Annotations, truth: Annotations, *, limit: int = 100, shapes: Shapes = BOXES
) -> Matches:
    """Match predicted with true objects of the same class, the highest score first.

    Parameters
    ----------
    predicted, truth : Annotations
        Of one image, with labels; the predicted ones with scores. True objects that are ignored
        are crowds: they may be found many times, and finding them counts neither way.
    limit : int, default=100
        Most predicted objects of a class that are measured, those with the highest scores.
    shapes : Shapes, default=BOXES
        What overlap and area are measured on.

    References
    ----------
    Lin et al. (2014), "Microsoft COCO: common objects in context", and the evaluation at
    https://cocodataset.org/#detection-eval.

    Examples
    --------
    >>> truth = Annotations((9, 9), boxes=np.array([[0.0, 0, 4, 4]]), labels=np.array([1]))
    >>> boxes, scores = np.array([[0.0, 0, 4, 3], [0, 0, 4, 4]]), np.array([0.6, 0.5])
    >>> found = Annotations((9, 9), boxes=boxes, labels=np.array([1, 1]), scores=scores)
    >>> matched(found, truth).outcomes[:, 0].tolist()
    [[1, 1, 1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]]
    """
    assert predicted.labels is not None
    assert predicted.scores is not None
    assert truth.labels is not None
    kept, places = _ranked(predicted.labels, predicted.scores, limit)
    found = predicted.select(kept)
    is_crowd = np.zeros(len(truth.labels), dtype=bool)
    if truth.ignored is not None:
        is_crowd = truth.ignored.astype(bool)
    counts = ~is_crowd[:, None] & _in_ranges(shapes.areas(truth))
    overlaps = shapes.overlaps(found, truth, is_crowd)
    same = predicted.labels[kept][:, None] == truth.labels[None]
    partners = greedy_partners(np.where(same, overlaps, 0.0), counts.T, is_crowd)
    finds = partners >= 0
    outcomes = np.full(partners.shape, MISS, dtype=np.uint8)
    outcomes[finds] = np.where(counts[partners[finds], np.nonzero(finds)[1]], HIT, IGNORED)
    outcomes[~finds & ~_in_ranges(shapes.areas(found))[:, :, None]] = IGNORED
    one, other = np.nonzero((overlaps >= THRESHOLDS[0]) & ~same & ~is_crowd[None])
    confused = one, other, overlaps[one, other]
    return Matches(kept, places, outcomes, partners[:, 0, 0], counts, confused)


def found_and_missed(
    predicted: Annotations, truth: Annotations, *, shapes: Shapes = BOXES
) -> tuple[Array, Array]:
    """Say which objects of an image nobody found, and which detections found none.

    Parameters
    ----------
    predicted, truth, shapes
        As in `matched`; every predicted object is looked at.

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
    matches = matched(predicted, truth, limit=len(predicted.labels), shapes=shapes)
    is_missed = matches.counts[:, 0].copy()
    is_missed[matches.partners[matches.partners >= 0]] = False
    is_false = np.zeros(len(predicted.labels), dtype=bool)
    is_false[matches.kept] = matches.outcomes[:, 0, 0] == MISS
    return is_missed, is_false


def _ranked(labels: Array, scores: Array, limit: int) -> tuple[Array, Array]:
    """Positions by falling score, the first of each class; and their places in their class."""
    order = np.argsort(-scores, kind="stable")
    by_class = np.argsort(labels[order], kind="stable")
    classes = labels[order][by_class]
    places = np.empty(len(order), dtype=np.intp)
    places[by_class] = np.arange(len(order)) - np.searchsorted(classes, classes)
    is_kept = places < limit
    return order[is_kept], places[is_kept]


def _in_ranges(areas: Array) -> Array:
    """Whether each area is in each of the ranges; of shape (m, areas)."""
    low, high = np.array(list(AREAS.values())).T
    inside: Array = (areas[:, None] >= low) & (areas[:, None] <= high)
    return inside


def greedy_partners(overlaps: Array, counts: Array, is_crowd: Array) -> Array:
    """Give each predicted object the free true one that it overlaps with most.

    One that counts is taken before one that doesn't. Of equal overlaps the last is taken.

    Parameters
    ----------
    overlaps : ndarray, shape (m, k)
        0 for pairs that may not be.
    counts : ndarray of bool, shape (areas, k)
        Whether a true object is to be found.
    is_crowd : ndarray of bool, shape (k,)
        Whether it stays free.

    Returns
    -------
    ndarray of int, shape (m, areas, thresholds)
        -1 where there is none.
    """
    thresholds = THRESHOLDS[:, None]
    is_free = np.ones((len(counts), len(thresholds), len(is_crowd)), dtype=bool)
    partners = np.full((len(overlaps), *is_free.shape[:2]), -1)
    for d in np.flatnonzero((overlaps >= THRESHOLDS[0]).any(axis=1)):
        near = np.flatnonzero(overlaps[d] >= THRESHOLDS[0])
        values = overlaps[d, near]
        rank = np.empty(len(near), dtype=np.intp)
        rank[values.argsort(kind="stable")] = np.arange(len(near))
        wish = (rank + len(near) * counts[:, near])[:, None]
        wish = np.where(is_free[:, :, near] & (values >= thresholds), wish, -1)
        best = near[wish.argmax(axis=2)]
        finds = wish.max(axis=2) >= 0
        partners[d][finds] = best[finds]
        finds &= ~is_crowd[best]
        a, t = np.nonzero(finds)
        is_free[a, t, best[finds]] = False
    return partners
