"""Precision over recall of detections, and its average."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transferkit.metrics._matching import HIT, IGNORED

__all__ = ["RECALLS", "PrecisionPoint", "RankedDetections"]

Array = NDArray[Any]

RECALLS = np.linspace(0, 1, 101)
"""Recalls at which COCO reads the precision."""
_POINTS = 50


class PrecisionPoint(NamedTuple):
    """Precision and recall of the detections of a score or more.

    Parameters
    ----------
    score : float
        The lowest score that is kept.
    precision, recall : float
        Share of the detections that find an object, and of the objects that are found.
    """

    score: float
    precision: float
    recall: float


class RankedDetections:
    """Detections class by class, the highest score first: what a precision is averaged from.

    Parameters
    ----------
    labels, scores, images : ndarray, shape (m,)
        Class, score and image of each detection, image by image.
    outcomes : ndarray of uint8, shape (m, thresholds)
        What became of it.
    true_labels, true_images : ndarray of int, shape (k,)
        Class and image of each object that is to be found.
    n_classes : int
        Classes, of which the first is the background.
    is_interpolated : bool, default=True
        Whether a precision is averaged as COCO does; see `Rules`.
    """

    def __init__(
        self,
        labels: Array,
        scores: Array,
        images: Array,
        outcomes: Array,
        true_labels: Array,
        true_images: Array,
        n_classes: int,
        is_interpolated: bool = True,
    ) -> None:
        order = np.lexsort((-scores, labels))  # stable: of equal scores the first image leads
        self.labels, self.scores, self.images = labels[order], scores[order], images[order]
        self.outcomes = outcomes[order]
        self.true_labels, self.true_images = true_labels, true_images
        self.n_classes = n_classes
        self.is_interpolated = is_interpolated

    @cached_property
    def _starts(self) -> Array:
        return np.searchsorted(self.labels, np.arange(self.n_classes))

    @cached_property
    def _hits(self) -> list[tuple[Array, Array, Array]]:
        """Places of each threshold's hits, their classes, and where each class begins in them."""
        found = []
        for outcome in self.outcomes.T:
            at = np.flatnonzero(outcome == HIT)
            labels = self.labels[at]
            found.append((at, labels, np.searchsorted(labels, np.arange(self.n_classes + 1))))
        return found

    def n_true(self, weights: Array | None = None) -> Array:
        """Objects of each class, an image's as often as its weight says."""
        of_objects = None if weights is None else weights[self.true_images]
        return np.bincount(self.true_labels, of_objects, self.n_classes)

    def averaged(self, weights: Array | None = None) -> Array:
        """Average precision of each class at each threshold.

        Parameters
        ----------
        weights : ndarray, shape (n_images,), optional
            How often each image counts, whole numbers; once if not given.

        Returns
        -------
        ndarray, shape (thresholds, n_classes)
            NaN for a class without an object.
        """
        n_true = self.n_true(weights)
        needed = _needed(n_true)
        of = np.ones(len(self.labels)) if weights is None else weights[self.images].astype(float)
        has_ignored = (self.outcomes == IGNORED).any(axis=0)
        all_counted = np.cumsum(of)
        result = np.full((len(self._hits), self.n_classes), np.nan)
        for t, (at, labels, starts) in enumerate(self._hits):
            counted = all_counted
            if has_ignored[t]:
                counted = np.cumsum(of * (self.outcomes[:, t] != IGNORED))
            seen = counted[at] - _before(counted, self._starts)[labels]
            hits = np.cumsum(of[at])
            base, end = _before(hits, starts[:-1]), _before(hits, starts[1:])
            envelope = _envelope((hits - base[labels]) / np.maximum(seen, 1), labels)
            if not self.is_interpolated:
                # Each hit is a step of recall.
                area = np.bincount(labels, of[at] * envelope, self.n_classes)
                result[t] = np.where(n_true > 0, area / np.maximum(n_true, 1), np.nan)
                continue
            place = np.searchsorted(hits, base[:, None] + needed)
            is_reached = needed <= (end - base)[:, None]
            read = np.append(envelope, 0.0)[np.where(is_reached, place, len(envelope))]
            result[t] = np.where(n_true > 0, read.mean(axis=1), np.nan)
        return result

    def curve(self, label: int, threshold: int = 0) -> tuple[PrecisionPoint, ...]:
        """Precision over recall of a class at one threshold, at 50 scores at the most.

        Parameters
        ----------
        label : int
            The class; without an object, or without a detection, there is no point.
        threshold : int, default=0
            Position in `THRESHOLDS`.
        """
        n_true = int(self.n_true()[label])
        outcomes = self.outcomes[:, threshold]
        of_class = (self.labels == label) & (outcomes != IGNORED)
        scores, hits = self.scores[of_class], np.cumsum(outcomes[of_class] == HIT)
        if not n_true or not len(scores):
            return ()
        # Detections of one score come together, so a point stands at the last of them.
        last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
        # The first point of each recall in even steps, and where the curve ends.
        steps = np.linspace(0, hits[-1], _POINTS - 1)
        last = last[np.unique([*np.searchsorted(hits[last], steps), len(last) - 1])]
        return tuple(
            PrecisionPoint(float(scores[i]), float(hits[i] / (i + 1)), float(hits[i] / n_true))
            for i in last
        )


def _before(totals: Array, places: Array) -> Array:
    """Running totals just before some places."""
    before: Array = np.concatenate([[0.0], totals])[places]
    return before


def _envelope(precision: Array, labels: Array) -> Array:
    """At every hit of a class, the highest precision there or at a later one."""
    # A step between classes keeps each one's maxima to itself.
    step = 2.0 * (labels[-1] - labels) if len(labels) else np.zeros(0)
    highest: Array = np.maximum.accumulate((precision + step)[::-1])[::-1] - step
    return highest


def _needed(n_true: Array) -> Array:
    """Fewest hits of each class that reach each recall, by the very division that COCO does."""
    whole = np.maximum(n_true, 1)[:, None]
    guess = np.floor(RECALLS * whole)
    needed = guess + 1
    for fewer in (guess, guess - 1):
        needed = np.where(fewer / whole >= RECALLS, fewer, needed)
    at_least_one: Array = np.maximum(needed, 1)
    return at_least_one
