"""`DetectionCounts`: which objects are found, by which detections, gathered image by image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import Annotations
from transferkit.metrics._matching import AREAS, BOXES, HIT, IGNORED, Matches, Shapes, matched
from transferkit.metrics._pixels import mean_of_defined
from transferkit.metrics._precision import RankedDetections

__all__ = ["OBJECT_TASKS", "AtThreshold", "DetectionCounts", "count_detections"]

Array = NDArray[Any]

OBJECT_TASKS = ("detection", "instances", "oriented")
"""Tasks that find objects, and are measured alike."""


class AtThreshold(NamedTuple):
    """What the detections of a score or more give, at an overlap of 0.5.

    Parameters
    ----------
    threshold : float
        Detections of this score or more are kept.
    f1, precision, recall : float or None
        Of the objects of all classes together; None where it is undefined.
    """

    threshold: float
    f1: float | None
    precision: float | None
    recall: float | None


@dataclass(frozen=True, eq=False)
class DetectionCounts:
    """Detections and objects of many images, which are all that a metric is computed from.

    Parameters
    ----------
    labels, scores, images, places : ndarray, shape (m,)
        Class, score and image of each detection, and how many of its class and image have a
        higher score.
    outcomes : ndarray of uint8, shape (m, areas, thresholds)
        What became of it; see `Matches`.
    partners : ndarray of int, shape (m,)
        The object that it finds at an overlap of 0.5; -1 if none.
    true_labels, true_images : ndarray of int, shape (k,)
        Class and image of each object.
    true_places : ndarray, shape (k, d)
        Where each object is, as shares of the image's size; see `Shapes`.
    counts : ndarray of bool, shape (k, areas)
        Whether it is to be found.
    confused : tuple of (ndarray, ndarray, ndarray)
        Pairs of a detection and an object of different classes, and their overlap of 0.5 or
        more.
    sizes : ndarray of int, shape (n, 2)
        Height and width of each image, px.
    classes : tuple of str
        Names of the classes, by number; the first is the background.
    limit : int
        Most detections of a class in an image that are measured.
    shapes : Shapes, default=BOXES
        What overlap and area were measured on, and by which rules.
    task : {"detection", "instances", "oriented"}, default="detection"
        What was predicted.
    """

    labels: Array
    scores: Array
    images: Array
    places: Array
    outcomes: Array
    partners: Array
    true_labels: Array
    true_images: Array
    true_places: Array
    counts: Array
    confused: tuple[Array, Array, Array]
    sizes: Array
    classes: tuple[str, ...]
    limit: int
    shapes: Shapes = BOXES
    task: str = "detection"

    def __len__(self) -> int:
        return len(self.sizes)

    # ---- over all thresholds -----------------------------------------------------------

    def ranked(self, area: str = "all") -> RankedDetections:
        """Return the detections class by class, for objects of a range of areas."""
        a = list(AREAS).index(area)
        is_asked = self.counts[:, a]
        return RankedDetections(
            self.labels,
            self.scores,
            self.images,
            self.outcomes[:, a],
            self.true_labels[is_asked],
            self.true_images[is_asked],
            len(self.classes),
            self.shapes.rules.is_interpolated,
        )

    @cached_property
    def precisions(self) -> dict[str, Array]:
        """Average precision by area: of each threshold and class; NaN without an object."""
        return {area: self.ranked(area).averaged() for area in AREAS}

    def average_precision(self, area: str = "all", threshold: int | None = None) -> float:
        """Mean of the average precision over the classes, NaN where there is no object.

        Parameters
        ----------
        area : {"all", "small", "medium", "large"}, default="all"
            Of the objects.
        threshold : int, optional
            Position in `THRESHOLDS`; the mean over all of them if not given.
        """
        found = self.precisions[area]
        return mean_of_defined(found.ravel() if threshold is None else found[threshold])

    def average_recall(self, area: str = "all", limit: int | None = None) -> float:
        """Share of the objects found, averaged over thresholds and classes.

        Parameters
        ----------
        area : {"all", "small", "medium", "large"}, default="all"
            Of the objects.
        limit : int, optional
            Detections of a class in an image that are looked at; `limit` of the counts if not
            given.
        """
        a = list(AREAS).index(area)
        n_classes = len(self.classes)
        n_true = np.bincount(self.true_labels[self.counts[:, a]], minlength=n_classes)
        seen = self.places < (self.limit if limit is None else limit)
        hits = (self.outcomes[:, a] == HIT) & seen[:, None]
        recalls = [
            np.bincount(self.labels[row], minlength=n_classes)[n_true > 0] / n_true[n_true > 0]
            for row in hits.T
        ]
        return mean_of_defined(np.concatenate(recalls))

    # ---- at one threshold --------------------------------------------------------------

    @property
    def found(self) -> Array:
        """What became of each detection at an overlap of 0.5, whatever the object's area."""
        first: Array = self.outcomes[:, 0, 0]
        return first

    @cached_property
    def best(self) -> AtThreshold | None:
        """The threshold with the highest F1; None if no object is found."""
        counted = self.found != IGNORED
        order = np.argsort(-self.scores[counted], kind="stable")
        scores = self.scores[counted][order].astype(float)
        hits = np.cumsum(self.found[counted][order] == HIT)
        if not len(hits) or not hits[-1]:
            return None
        # Boxes of one score are kept or left out together.
        last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
        f1 = 2 * hits[last] / (self.counts[:, 0].sum() + last + 1)
        at = int(last[f1.argmax()])
        # Halfway to the next score, so that rounding moves no box across the threshold.
        return self.at(float(scores[at : at + 2].mean()))

    def at(self, threshold: float) -> AtThreshold:
        """Precision and recall of the detections of a score or more.

        Parameters
        ----------
        threshold : float
            The score.
        """
        kept = (self.scores >= threshold) & (self.found != IGNORED)
        n_hits, n_kept = int((self.found[kept] == HIT).sum()), int(kept.sum())
        n_true = int(self.counts[:, 0].sum())
        shares = (2 * n_hits, n_kept + n_true), (n_hits, n_kept), (n_hits, n_true)
        return AtThreshold(threshold, *(part / whole if whole else None for part, whole in shares))

    def confusion(self, threshold: float) -> Array:
        """Objects by true and predicted class, of the detections of a score or more.

        A detection that found no object of its class is set beside one of another class that
        nobody found, if they overlap by 0.5 or more.

        Returns
        -------
        ndarray of int, shape (n_classes, n_classes)
            Row 0 counts detections where there is no object, column 0 objects that nobody found.
        """
        kept = self.scores >= threshold
        is_left = kept & (self.partners < 0) & (self.found != IGNORED)
        is_open = self.counts[:, 0].copy()
        is_open[self.partners[kept & (self.partners >= 0)]] = False
        cells = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)
        np.add.at(cells, (self.labels, self.labels), kept & (self.found == HIT))
        found, true, overlaps = self.confused
        may_be = is_left[found] & is_open[true]
        found, true, overlaps = found[may_be], true[may_be], overlaps[may_be]
        for i in np.lexsort((-overlaps, -self.scores[found])):
            d, k = found[i], true[i]
            if is_left[d] and is_open[k]:
                is_left[d] = is_open[k] = False
                cells[self.true_labels[k], self.labels[d]] += 1
        cells[0] += np.bincount(self.labels[is_left], minlength=len(cells))
        cells[:, 0] += np.bincount(self.true_labels[is_open], minlength=len(cells))
        return cells


# ---- counting -----------------------------------------------------------------------


def count_detections(
    truth: Iterable[Annotations],
    predicted: Iterable[Annotations],
    classes: Sequence[str],
    *,
    limit: int = 100,
    shapes: Shapes = BOXES,
    task: str = "detection",
    also: Callable[[Annotations, Annotations], None] | None = None,
) -> DetectionCounts:
    """Match predicted with true objects, of one image after the other.

    Parameters
    ----------
    truth, predicted : iterable of Annotations
        With boxes, or what the shapes are held in, and labels, the predicted ones with scores;
        one of each per image. Only one image is held at a time.
    classes : sequence of str
        Names of the classes, by number; the first is the background.
    limit : int, default=100
        Most detections of a class in an image that are measured, those with the highest scores.
    shapes : Shapes, default=BOXES
        What overlap and area are measured on, and by which rules.
    task : {"detection", "instances", "oriented"}, default="detection"
        What was predicted, which decides what metrics there are.
    also : callable, optional
        What is done with the true and the predicted annotations of each image beside.

    Raises
    ------
    ValueError
        If there are no images, or one side has more of them than the other; if boxes, labels or
        scores are missing, or a class has no name.

    Examples
    --------
    >>> box = np.array([[0.0, 0, 40, 40]])
    >>> truth = Annotations((50, 50), boxes=box, labels=np.array([1]))
    >>> found = Annotations((50, 50), boxes=box, labels=np.array([1]), scores=np.array([0.9]))
    >>> count_detections([truth], [found], ["background", "cell"]).average_precision()
    1.0
    """
    rows = []
    for i, (one, found) in enumerate(_checked(truth, predicted, len(classes), shapes)):
        rows.append(_row(i, one, found, matched(found, one, limit=limit, shapes=shapes), shapes))
        if also is not None:
            also(one, found)
    if not rows:
        raise ValueError("there are no images to measure with; give at least one")
    offsets: dict[str, Array] = {}
    for name in ("labels", "true_labels"):
        offsets[name] = np.cumsum([0, *(len(row[name]) for row in rows)])
    for i, row in enumerate(rows):
        found_from, true_from = offsets["labels"][i], offsets["true_labels"][i]
        row["partners"] = np.where(row["partners"] >= 0, row["partners"] + true_from, -1)
        row["confused_found"] = row["confused_found"] + found_from
        row["confused_true"] = row["confused_true"] + true_from
    joined = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    pairs = tuple(joined.pop(f"confused_{name}") for name in ("found", "true", "overlaps"))
    return DetectionCounts(
        **joined,
        confused=(pairs[0], pairs[1], pairs[2]),
        classes=tuple(map(str, classes)),
        limit=limit,
        shapes=shapes,
        task=task,
    )


def _row(
    i: int, truth: Annotations, predicted: Annotations, found: Matches, shapes: Shapes
) -> dict[str, Array]:
    """What is kept of one image."""
    assert predicted.labels is not None
    assert predicted.scores is not None
    assert truth.labels is not None
    one, other, overlaps = found.confused
    return {
        "labels": predicted.labels[found.kept].astype(np.int32),
        "scores": predicted.scores[found.kept],
        "images": np.full(len(found.kept), i, dtype=np.int32),
        "places": found.places.astype(np.int32),
        "outcomes": found.outcomes,
        "partners": found.partners,
        "true_labels": truth.labels.astype(np.int32),
        "true_images": np.full(len(truth.labels), i, dtype=np.int32),
        "true_places": shapes.places(truth),
        "counts": found.counts,
        "confused_found": one,
        "confused_true": other,
        "confused_overlaps": overlaps,
        "sizes": np.array([truth.size]),
    }


def _checked(
    truth: Iterable[Annotations],
    predicted: Iterable[Annotations],
    n_classes: int,
    shapes: Shapes,
) -> Iterator[tuple[Annotations, Annotations]]:
    """Yield true and predicted objects in pairs that fit."""
    for i, (true, found) in enumerate(zip_longest(truth, predicted)):
        if true is None or found is None:
            lacks, has = ("truth", "prediction")[:: 1 if true is None else -1]
            raise ValueError(f"image {i} has a {has} but no {lacks}; give one of each")
        for what, one in (("truth", true), ("prediction", found)):
            if getattr(one, shapes.held) is None or one.labels is None:
                raise ValueError(
                    f"the {what} of image {i} has no {shapes.noun} or no labels; give arrays of "
                    "length 0 where there is nothing"
                )
            odd = (one.labels < 1) | (one.labels >= n_classes)
            if odd.any():
                raise ValueError(
                    f"the {what} of image {i} has class {int(one.labels[odd][0])}; give numbers "
                    f"from 1 to {n_classes - 1}"
                )
        if found.scores is None or not np.isfinite(found.scores).all():
            raise ValueError(
                f"the prediction of image {i} lacks a score or has one that isn't finite; give "
                "one for each object"
            )
        if tuple(true.size) != tuple(found.size):
            raise ValueError(
                f"the truth of image {i} is of {true.size[0]} × {true.size[1]} px and the "
                f"prediction of {found.size[0]} × {found.size[1]} px; give both in the image's px"
            )
        yield true, found
