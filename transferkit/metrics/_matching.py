"""Match the objects that were found in an image with those that are there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import Annotations
from transferkit.metrics._boxes import box_areas, box_overlaps, paired_overlaps
from transferkit.metrics._rules import COCO, THRESHOLDS, Rules

__all__ = ["AREAS", "BOXES", "HIT", "IGNORED", "MISS", "Matches", "Shapes", "matched"]

Array = NDArray[Any]

AREAS = {
    "all": (0.0, np.inf),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, np.inf),
}
"""Ranges of area, px² of the image; an object on a border is in both."""
MISS, HIT, IGNORED = 0, 1, 2


def _boxes(annotations: Annotations) -> Array:
    assert annotations.boxes is not None
    return np.asarray(annotations.boxes, dtype=np.float64)


def _box_areas(annotations: Annotations) -> Array:
    return box_areas(_boxes(annotations))


def _box_overlaps(found: Annotations, true: Annotations, is_crowd: Array) -> Array:
    return box_overlaps(_boxes(found), _boxes(true), is_crowd)


def _box_places(annotations: Annotations) -> Array:
    height, width = annotations.size
    return _boxes(annotations) / (width, height, width, height)


def _with_median_box(places: Array, sizes: Array) -> Array:
    scale = sizes[:, [1, 0, 1, 0]]
    return paired_overlaps(np.median(places, axis=0) * scale, places * scale)


@dataclass(frozen=True)
class Shapes:
    """What the overlap and the area of objects are measured on, and by which rules.

    Parameters
    ----------
    overlaps : callable
        Predicted and true annotations, and which of the true ones are ignored → overlaps from 0
        to 1, of shape (predicted, true); see `box_overlaps`.
    areas : callable
        Annotations → area of each object, px².
    held : {"boxes", "masks", "oriented"}, default="boxes"
        Field of the annotations that they are held in.
    rules : Rules, default=COCO
        What counts as found, and how a precision is averaged.
    places : callable, optional
        Annotations → where each object is, as shares of the image's size, of shape (m, d);
        the edges of its upright box if not given.
    with_typical : callable, optional
        Places of a class's objects and the sizes of their images, px, of shape (m, 2) → how much
        each overlaps with the class's typical object, laid on its image; with the median of the
        upright boxes if not given.
    """

    overlaps: Callable[[Annotations, Annotations, Array], Array]
    areas: Callable[[Annotations], Array]
    held: str = "boxes"
    rules: Rules = COCO
    places: Callable[[Annotations], Array] = _box_places
    with_typical: Callable[[Array, Array], Array] = _with_median_box

    @property
    def noun(self) -> str:
        """What they are called in a message."""
        return "oriented boxes" if self.held == "oriented" else self.held


BOXES = Shapes(overlaps=_box_overlaps, areas=_box_areas)
"""Upright boxes, as COCO measures them."""


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
        Of one image, with labels; the predicted ones with scores. True objects that are ignored,
        such as crowds, may be found many times, and finding them counts neither way.
    limit : int, default=100
        Most predicted objects of a class that are measured, those with the highest scores.
    shapes : Shapes, default=BOXES
        What overlap and area are measured on, and by which rules.

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
    partners = shapes.rules.partners(np.where(same, overlaps, 0.0), counts.T, is_crowd)
    finds = partners >= 0
    outcomes = np.full(partners.shape, MISS, dtype=np.uint8)
    outcomes[finds] = np.where(counts[partners[finds], np.nonzero(finds)[1]], HIT, IGNORED)
    outcomes[~finds & ~_in_ranges(shapes.areas(found))[:, :, None]] = IGNORED
    one, other = np.nonzero((overlaps >= THRESHOLDS[0]) & ~same & ~is_crowd[None])
    confused = one, other, overlaps[one, other]
    return Matches(kept, places, outcomes, partners[:, 0, 0], counts, confused)


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
