"""Which images, and which objects of them, a page shows: chosen by counts, without a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.metrics import AnomalyScores, DetectionCounts, PixelCounts
from transferkit.metrics._matching import HIT, MISS
from transferkit.report.text import printable

__all__ = ["Examples", "ObjectOutcomes", "anomaly_examples", "object_examples", "pixel_examples"]

Array = NDArray[Any]

# Images of each group of a gallery, which are three at the most.
_OF_A_GROUP = 8
# Objects of a gallery, and those of one image, which shall not fill it.
_OBJECTS, _OF_AN_IMAGE = 24, 4


@dataclass(frozen=True)
class Examples:
    """Images and objects that are shown.

    Parameters
    ----------
    groups : mapping of str to sequence of int
        Positions of images under what they are examples of, in the order in which they are shown.
    notes : mapping of int to sequence of str
        What is told of each of these images.
    n_false, n_missed : mapping of int to int, default={}
        How many false detections and missed objects of an image are shown: the surest ones, and
        the largest.
    """

    groups: Mapping[str, Sequence[int]]
    notes: Mapping[int, Sequence[str]]
    n_false: Mapping[int, int] = field(default_factory=dict, hash=False)
    n_missed: Mapping[int, int] = field(default_factory=dict, hash=False)

    @property
    def images(self) -> list[int]:
        """Positions of all images that are looked at again, ascending."""
        grouped = (i for group in self.groups.values() for i in group)
        return sorted({*grouped, *self.n_false, *self.n_missed})


def _spread(scores: Array, what: str) -> dict[str, list[int]]:
    """Images of the worst, the middling and the best scores; those without a score are left out.

    Few images are all shown, from the worst to the best.
    """
    order = [i for i in np.argsort(scores, kind="stable").tolist() if not np.isnan(scores[i])]
    n = len(order)
    if n <= 3 * _OF_A_GROUP:
        return {f"All images, the lowest {what} first": order} if order else {}
    middle = (n - _OF_A_GROUP) // 2
    return {
        f"Lowest {what}": order[:_OF_A_GROUP],
        f"Middling {what}": order[middle : middle + _OF_A_GROUP],
        f"Highest {what}": order[::-1][:_OF_A_GROUP],
    }


# ---- pixels -------------------------------------------------------------------------


def pixel_examples(counts: PixelCounts) -> Examples:
    """Choose images by the mean IoU of their own classes.

    Parameters
    ----------
    counts : PixelCounts
        From `count_pixels`.

    Examples
    --------
    >>> from transferkit.annotations import Annotations
    >>> from transferkit.metrics import count_pixels
    >>> true, found = (Annotations((1, 2), map=np.array([row])) for row in ([0, 1], [0, 0]))
    >>> counts = count_pixels([true, true], [found, true], ["sky", "sea"])
    >>> pixel_examples(counts).groups
    {'All images, the lowest IoU first': [0, 1]}
    """
    groups = _spread(counts.image_iou, "IoU")
    shown = {i for group in groups.values() for i in group}
    return Examples(groups, {i: _pixel_notes(counts, i) for i in shown})


def _pixel_notes(counts: PixelCounts, i: int) -> list[str]:
    hits, true = counts.hits[i], counts.true[i]
    whole = true + counts.predicted[i] - hits
    own = [c for c in np.argsort(-true, kind="stable").tolist() if whole[c]]
    classes = [f"{printable(counts.classes[c])} {100 * hits[c] / whole[c]:.1f}" for c in own[:4]]
    more = f" and {len(own) - 4:,} more" if len(own) > 4 else ""
    notes = [f"mean IoU {100 * counts.image_iou[i]:.1f} %"]
    return [*notes, f"{', '.join(classes)}{more}"] if len(own) > 1 else notes


# ---- objects ------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ObjectOutcomes:
    """What the detections of a score or more give on each image, at an overlap of 0.5.

    Parameters
    ----------
    is_false : ndarray of bool, shape (m,)
        Whether each detection of the counts is believed and finds no object.
    is_missed : ndarray of bool, shape (k,)
        Whether each object is to be found, and no such detection finds it.
    hits, false, missed : ndarray of int, shape (n,)
        Objects found, false detections and missed objects of each image.
    """

    is_false: Array
    is_missed: Array
    hits: Array
    false: Array
    missed: Array

    @classmethod
    def of(cls, counts: DetectionCounts, threshold: float) -> ObjectOutcomes:
        """Take them from counts, for detections of a score of `threshold` or more."""
        kept = counts.scores >= threshold
        is_false = kept & (counts.found == MISS)
        is_missed = counts.counts[:, 0].copy()
        is_missed[counts.partners[kept & (counts.partners >= 0)]] = False
        n = len(counts)
        return cls(
            is_false,
            is_missed,
            np.bincount(counts.images[kept & (counts.found == HIT)], minlength=n),
            np.bincount(counts.images[is_false], minlength=n),
            np.bincount(counts.true_images[is_missed], minlength=n),
        )

    @property
    def f1(self) -> Array:
        """F1 of each image; 1 where there is nothing and nothing is found."""
        whole = 2 * self.hits + self.false + self.missed
        return np.where(whole > 0, 2 * self.hits / np.maximum(whole, 1), 1.0)


def object_examples(counts: DetectionCounts, threshold: float) -> Examples:
    """Choose images by their F1, the surest false detections, and the largest missed objects.

    Parameters
    ----------
    counts : DetectionCounts
        From `count_detections`.
    threshold : float
        Score from which on detections are believed.
    """
    outcomes = ObjectOutcomes.of(counts, threshold)
    f1, wrong = outcomes.f1, outcomes.false + outcomes.missed
    # Of images of one F1 that with more mistakes is worse, by less than any F1 differs.
    groups = _spread(f1 - 1e-9 * wrong, "F1")
    notes = {
        i: [
            f"F1 {100 * f1[i]:.1f} %",
            f"{outcomes.hits[i]:,} found, {outcomes.false[i]:,} false, "
            f"{outcomes.missed[i]:,} missed",
        ]
        for group in groups.values()
        for i in group
    }
    false, missed = np.flatnonzero(outcomes.is_false), np.flatnonzero(outcomes.is_missed)
    surest = false[np.argsort(-counts.scores[false], kind="stable")]
    largest = missed[np.argsort(-_shares(counts)[missed], kind="stable")]
    return Examples(
        groups,
        notes,
        _some(counts.images[surest].tolist()),
        _some(counts.true_images[largest].tolist()),
    )


def _shares(counts: DetectionCounts) -> Array:
    """How much of its image each object's box covers."""
    # Sides of oriented boxes are shares of the root of the image's area.
    is_oriented, places = counts.shapes.held == "oriented", counts.true_places
    sides = places[:, 2:4] if is_oriented else places[:, 2:] - places[:, :2]
    covered: Array = sides.prod(axis=1)
    return covered


def _some(images: Sequence[int]) -> dict[int, int]:
    """How many of the first objects are taken from each image, given the image of each."""
    taken: Counter[int] = Counter()
    for image in images:
        if taken.total() == _OBJECTS:
            break
        if taken[image] < _OF_AN_IMAGE:
            taken[image] += 1
    return dict(taken)


# ---- anomalies ----------------------------------------------------------------------


def anomaly_examples(scores: AnomalyScores) -> Examples:
    """Choose defects that are missed and found, and good images that are false alarms or aren't.

    Parameters
    ----------
    scores : AnomalyScores
        From `gather_scores`. Without a threshold nothing is missed, and nothing a false alarm.

    Examples
    --------
    >>> from transferkit.annotations import Annotations
    >>> from transferkit.metrics import gather_scores
    >>> found = [Annotations((1, 1), score=score) for score in (0.1, 0.7, 0.3, 0.9)]
    >>> scores = gather_scores([None] * 4, found, [False, False, True, True], 0.5)
    >>> {name: list(group) for name, group in anomaly_examples(scores).groups.items()}
    {'Missed': [2], 'False alarms': [1], 'Found': [3], 'Rightly good': [0]}
    """
    order = np.argsort(scores.images, kind="stable")
    strange = scores.is_anomalous[order]
    flagged = strange if scores.is_flagged is None else scores.is_flagged[order]
    found, good = order[strange & flagged], order[~strange & ~flagged]
    # A few, evenly from the lowest score to the highest.
    few = [part[_evenly(len(part), _OF_A_GROUP)] for part in (found, good)]
    chosen = {
        "Missed": order[strange & ~flagged][: 2 * _OF_A_GROUP],
        "False alarms": order[~strange & flagged][::-1][: 2 * _OF_A_GROUP],
        "Found": few[0],
        "Rightly good": few[1],
    }
    groups = {name: at.tolist() for name, at in chosen.items() if len(at)}
    limit = "" if scores.threshold is None else f", threshold {scores.threshold:.4g}"
    notes = {
        i: [f"score {scores.images[i]:.4g}{limit}"] for group in groups.values() for i in group
    }
    return Examples(groups, notes)


def _evenly(n: int, n_wanted: int) -> Array:
    """Positions from the first to the last of n things, in even steps."""
    return np.unique(np.linspace(0, max(n - 1, 0), min(n, n_wanted)).round().astype(np.intp))
