"""Segments of images in which every pixel is of one object at most: what panoptic quality takes.

References
----------
Kirillov et al. (2019), "Panoptic segmentation", sections 4.1 and 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import Annotations, Masks

__all__ = ["PanopticQuality", "PanopticSegments", "panoptic_segments"]

Array = NDArray[Any]

MATCHED = 0.5
"""Overlap above which two segments are one object; of disjoint segments one can't have two."""
COVERED = 0.5
"""A detection is left out if more than this share of it lies beneath those of higher scores."""


class PanopticQuality(NamedTuple):
    """Panoptic quality and its two factors, of each class or on average.

    Parameters
    ----------
    quality : float or ndarray
        PQ = SQ · RQ.
    segmentation : float or ndarray
        SQ: mean overlap of the segments that are matched; 0 if there are none.
    recognition : float or ndarray
        RQ: the F1 of detections and objects.
    """

    quality: Any
    segmentation: Any
    recognition: Any


@dataclass(frozen=True, eq=False)
class PanopticSegments:
    """Segments of many images, from which panoptic quality is computed at any score threshold.

    What a segment covers and is matched with doesn't depend on those of lower scores. So each
    threshold gives what it would if the others had never been there.

    Parameters
    ----------
    labels, scores : ndarray, shape (m,)
        Class and score of each predicted segment that counts.
    overlaps : ndarray, shape (m,)
        Intersection over union with the true segment that it is matched with; 0 without one.
    true_labels : ndarray of int, shape (k,)
        Class of each true segment.
    n_classes : int
        Classes, of which the first is the background.
    """

    labels: Array
    scores: Array
    overlaps: Array
    true_labels: Array
    n_classes: int

    @classmethod
    def joined(cls, parts: Sequence[PanopticSegments]) -> PanopticSegments:
        """Segments of all images together, from those of each."""
        names = "labels", "scores", "overlaps", "true_labels"
        fields = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**fields, n_classes=parts[0].n_classes)

    def of_classes(self, threshold: float) -> PanopticQuality:
        """Quality of each class; NaN for one that is neither there nor found.

        Parameters
        ----------
        threshold : float
            Score from which on segments are kept.
        """
        kept = self.scores >= threshold
        is_match = kept & (self.overlaps > 0)
        n_true, n_found, n_matched = (
            np.bincount(labels, minlength=self.n_classes)
            for labels in (self.true_labels, self.labels[kept], self.labels[is_match])
        )
        shared = np.bincount(self.labels[is_match], self.overlaps[is_match], self.n_classes)
        segmentation = shared / np.maximum(n_matched, 1)
        whole = (n_true + n_found) / 2  # matched, and half of those that are not
        recognition = np.divide(
            n_matched, whole, out=np.full(self.n_classes, np.nan), where=whole > 0
        )
        return PanopticQuality(segmentation * recognition, segmentation, recognition)

    def average(self, threshold: float) -> PanopticQuality:
        """Mean over the classes; NaN if there is neither an object nor a detection.

        Parameters
        ----------
        threshold : float
            Score from which on segments are kept.
        """
        found = self.of_classes(threshold)
        known = np.isfinite(found.quality)
        if not known.any():
            return PanopticQuality(np.nan, np.nan, np.nan)
        return PanopticQuality(*(float(values[known].mean()) for values in found))


def panoptic_segments(
    truth: Annotations, predicted: Annotations, n_classes: int
) -> PanopticSegments:
    """Make segments of the predicted and the true masks of an image, and match them.

    Of the predicted ones each pixel is of the mask with the highest score, and one that keeps
    less than half of its pixels is left out. Of the true ones it is of the smallest. A predicted
    segment that is matched with none, and of which more than half lies in ignored objects of its
    class, counts neither way.

    Parameters
    ----------
    truth, predicted : Annotations
        Masks with labels, the predicted ones with scores.
    n_classes : int
        Classes, of which the first is the background.

    Examples
    --------
    >>> true, found = np.zeros((2, 1, 2, 4), dtype=bool)
    >>> true[0, :, :2] = found[0, :, :3] = True
    >>> label = np.array([1])
    >>> truth = Annotations((2, 4), masks=true, labels=label)
    >>> predicted = Annotations((2, 4), masks=found, labels=label, scores=np.array([0.9]))
    >>> panoptic_segments(truth, predicted, 2).average(0.5).quality
    0.6666666666666666
    """
    assert predicted.labels is not None
    assert predicted.scores is not None
    true = _TrueSegments(truth)
    kept = list(_matched(predicted, true))
    at = np.array([i for i, _ in kept], dtype=np.intp)
    return PanopticSegments(
        labels=predicted.labels[at].astype(np.int64),
        scores=predicted.scores[at].astype(np.float64),
        overlaps=np.array([overlap for _, overlap in kept], dtype=np.float64),
        true_labels=true.labels[true.areas > 0].astype(np.int64),
        n_classes=n_classes,
    )


class _TrueSegments:
    """Number of the true object at each pixel, and of the ignored one."""

    def __init__(self, truth: Annotations) -> None:
        masks, labels = truth.masks, truth.labels
        assert masks is not None
        assert labels is not None
        is_ignored = np.zeros(len(labels), dtype=bool)
        if truth.ignored is not None:
            is_ignored = truth.ignored.astype(bool)
        self.labels, self.ignored_labels = labels[~is_ignored], labels[is_ignored]
        self.numbers = _numbered(masks[~is_ignored])
        self.ignored = _numbered(masks[is_ignored]) if is_ignored.any() else None
        self.areas = np.bincount(self.numbers.ravel(), minlength=len(self.labels) + 1)[1:]


def _numbered(masks: Masks) -> NDArray[np.int32]:
    """Number of each pixel's object from 1 on, smaller ones over larger ones; 0 for none."""
    numbers = np.zeros(masks.size, dtype=np.int32)
    for i in np.argsort(-masks.areas, kind="stable").tolist():
        masks.regions[i].paint(numbers, i + 1)
    return numbers


def _matched(predicted: Annotations, true: _TrueSegments) -> Iterator[tuple[int, float]]:
    """Which predicted masks count, the highest score first, and their overlaps."""
    assert predicted.masks is not None
    assert predicted.labels is not None
    assert predicted.scores is not None
    is_taken = np.zeros(predicted.size, dtype=bool)
    for i in np.argsort(-predicted.scores, kind="stable").tolist():
        region = predicted.masks.regions[i]
        height, width = region.pixels.shape
        place = np.s_[region.top : region.top + height, region.left : region.left + width]
        free = region.pixels & ~is_taken[place]
        n_free, label = int(free.sum()), predicted.labels[i]
        if not n_free or n_free < (1 - COVERED) * region.area:
            continue
        is_taken[place] |= free
        shared = np.bincount(true.numbers[place][free], minlength=len(true.labels) + 1)[1:]
        overlap = shared / (n_free + true.areas - shared)
        overlap[true.labels != label] = 0
        best = float(overlap.max(initial=0))
        if best <= MATCHED and true.ignored is not None:
            there = true.ignored[place][free]
            is_same = np.concatenate([[False], true.ignored_labels == label])
            if is_same[there].mean() > MATCHED:
                continue
        yield i, best if best > MATCHED else 0.0
