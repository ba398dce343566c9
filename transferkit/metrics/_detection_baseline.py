"""What detections are compared with: a box in the same place of every image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.metrics._baseline import Baseline, from_draws, no_better
from transferkit.metrics._detections import DetectionCounts
from transferkit.metrics._metric import percent
from transferkit.metrics._pixels import mean_of_defined
from transferkit.metrics._precision import RECALLS
from transferkit.metrics._rules import THRESHOLDS
from transferkit.uncertainty import bootstrap_draws, draws_for

__all__ = ["detection_baseline"]

Array = NDArray[Any]

RULE = "each class's median box in every image"
# What a draw costs at least, per detection and per object, in values that a bootstrap gathers.
_LEAST, _PER_DETECTION, _PER_OBJECT = 30_000, 4, 120


def detection_baseline(counts: DetectionCounts) -> Baseline:
    """Compare with the median box of each class's objects, laid on every image.

    The box is the median of each edge, as a share of the image's width and height, or what the
    counts' shapes have for it. All of a class's boxes have one score, so its precision and its
    recall are one point.

    Parameters
    ----------
    counts : DetectionCounts
        With an object at least.
    """
    ranked, constant = counts.ranked(), _ConstantBoxes(counts)

    def measure(rows: Array) -> tuple[float, float, float, float]:
        weights = np.bincount(rows, minlength=len(counts))
        found, said = ranked.averaged(weights), constant.averaged(weights)
        (ap, ap50), (plain, plain50) = (
            (mean_of_defined(side.ravel()), mean_of_defined(side[0])) for side in (found, said)
        )
        return ap, plain, ap50, plain50

    n = len(counts)
    cost = _LEAST + _PER_DETECTION * len(counts.labels) + _PER_OBJECT * len(counts.true_labels)
    values = measure(np.arange(n))
    draws = _centred(bootstrap_draws(measure, n, n_draws=draws_for(cost)), values)
    first = from_draws("average_precision", values[:2], draws[:, :2], n)
    second = from_draws("ap50", values[2:], draws[:, 2:], n)
    numbers = f"{percent(first.baseline)} AP"
    verdict = f"{RULE} gets {numbers}"
    if not first.is_better:
        verdict = no_better(RULE, numbers, is_behind=first.value <= first.baseline)
    return Baseline(RULE, first.is_better, verdict, (first, second))


def _centred(draws: Array, values: Sequence[float]) -> Array:
    """Shift draws so that their means are the values.

    An image that is drawn twice brings the same box to its class twice: the best precisions grow
    with such chance, and so does their average, up to beyond the interval of the draws.
    """
    usable = draws[np.isfinite(draws).all(axis=1)]
    if not len(usable):
        return draws
    centred: Array = (draws - usable.mean(axis=0) + values).clip(0, 1)
    return centred


class _ConstantBoxes:
    """Average precision of each class's median box in every image."""

    def __init__(self, counts: DetectionCounts) -> None:
        self.n_classes = len(counts.classes)
        is_asked = counts.counts[:, 0]
        self.labels, self.images = counts.true_labels[is_asked], counts.true_images[is_asked]
        places, sizes = counts.true_places[is_asked], counts.sizes[self.images]
        self.is_interpolated = counts.shapes.rules.is_interpolated
        overlaps = np.zeros(len(places))
        for c in np.unique(self.labels):
            of_class = self.labels == c
            overlaps[of_class] = counts.shapes.with_typical(places[of_class], sizes[of_class])
        # An image's box finds one object: the one that it overlaps with most.
        order = np.lexsort((-overlaps, self.labels, self.images))
        key = self.images[order].astype(np.int64) * self.n_classes + self.labels[order]
        first = order[np.unique(key, return_index=True)[1]]
        self.hits = [first[overlaps[first] >= threshold] for threshold in THRESHOLDS]

    def averaged(self, weights: Array) -> Array:
        n_true = np.bincount(self.labels, weights[self.images], self.n_classes)
        n_said = max(weights.sum(), 1)
        result = np.full((len(self.hits), self.n_classes), math.nan)
        for t, at in enumerate(self.hits):
            n_hits = np.bincount(self.labels[at], weights[self.images[at]], self.n_classes)
            recall = n_hits / np.maximum(n_true, 1)
            reached = recall
            if self.is_interpolated:
                reached = np.searchsorted(RECALLS, recall, side="right") / len(RECALLS)
            result[t] = np.where(n_true > 0, n_hits / n_said * reached * (n_hits > 0), math.nan)
        return result
