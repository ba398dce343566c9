"""Compare true boxes with those that a model finds: what is likely missing, or of another class."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import Annotations
from transferkit.inspection.findings import Finding

__all__ = ["inspect_detections"]

Array = NDArray[Any]
# A detection is of a true object from this overlap on, and of none below that one.
_SAME, _NONE = 0.5, 0.1
# What lies in a true box by more than this share of its own area is a part of that object.
_WITHIN = 0.5
# A class says what is a sure detection only if so many of its objects were found.
_ENOUGH = 10
# A mean of equal scores may be a last bit above them.
_ROUNDING = 1e-9


def inspect_detections(
    truth: Iterable[Annotations | None],
    predicted: Iterable[Annotations | None],
    classes: Sequence[str],
) -> list[Finding]:
    """Find places where a model is sure of an object that has no box, or a box of another class.

    The model should not have been trained on the images that it is asked about: take the
    predictions of each fold from a model that was trained on the others. A detection counts if
    its score is above the mean score of the detections of its class that are right, as confident
    learning has it for labels, so nothing has to be chosen and a shy model is no hindrance.

    Parameters
    ----------
    truth, predicted : iterable of (Annotations or None)
        One for each image, in their order: with boxes or masks, and labels, and predicted ones
        with scores. An image that lacks either isn't looked at.
    classes : sequence of str
        Names of the classes, by number.

    Returns
    -------
    list of Finding
        ``missing box`` and then ``box label``, the surest of each first; the suggestion is the
        class that the model names.

    References
    ----------
    Northcutt et al., 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", eq. 2.

    Examples
    --------
    >>> boxes, labels = np.array([[0.0, 0, 9, 9]] * 20), np.zeros(20, int)
    >>> truth = [Annotations((20, 20), boxes=boxes[[i]], labels=labels[[i]]) for i in range(20)]
    >>> found = [
    ...     Annotations((20, 20), boxes=boxes[[i]], labels=labels[[i]], scores=np.array([0.7]))
    ...     for i in range(20)
    ... ]
    >>> inspect_detections(truth, found, ["cell"])
    []
    """
    pairs = []
    for i, (true, one) in enumerate(zip(truth, predicted, strict=True)):
        if true is not None and one is not None and one.scores is not None:
            pairs.append(_Compared.of(i, _without_masks(true), _without_masks(one)))
    thresholds = _thresholds(pairs, len(classes))
    found: list[Finding] = []
    for pair in pairs:
        found += _suspects(pair, thresholds, classes)
    return sorted(found, key=lambda one: (one.kind != "missing box", -one.score, one.image))


@dataclass(frozen=True, eq=False)
class _Compared:
    """Detections of an image beside its true objects."""

    image: int
    predicted: Annotations
    truth: Annotations
    overlaps: Array
    """Intersections over unions, of shape (n_predicted, n_true)."""
    within: Array
    """Which share of each detection lies in each true box."""

    @classmethod
    def of(cls, image: int, truth: Annotations, predicted: Annotations) -> _Compared:
        from transferkit.metrics import box_overlaps

        boxes, true = _boxes(predicted), _boxes(truth)
        inside = box_overlaps(boxes, true, np.ones(len(true), dtype=bool))
        return cls(image, predicted, truth, box_overlaps(boxes, true), inside)


def _without_masks(annotations: Annotations) -> Annotations:
    """The same objects with boxes alone, so that all images' fit into memory."""
    masks, boxes = annotations.masks, annotations.boxes
    return dataclasses.replace(
        annotations,
        boxes=masks.boxes if boxes is None and masks is not None else boxes,
        masks=None,
        map=None,
    )


def _boxes(annotations: Annotations) -> Array:
    return np.asarray(annotations.boxes, dtype=np.float64).reshape(-1, 4)


def _thresholds(pairs: Sequence[_Compared], n_classes: int) -> Array:
    """Mean score of the right detections of each class; infinite where there are too few."""
    totals, counts = np.zeros(n_classes), np.zeros(n_classes, dtype=np.int64)
    for pair in pairs:
        labels, true = np.asarray(pair.predicted.labels), np.asarray(pair.truth.labels)
        is_hit = (pair.overlaps >= _SAME) & (labels[:, None] == true[None])
        # Of several detections of an object the surest counts.
        scores = np.where(is_hit, np.asarray(pair.predicted.scores)[:, None], -1.0)
        best = scores.max(axis=0, initial=-1.0)
        np.add.at(totals, true[best >= 0], best[best >= 0])
        np.add.at(counts, true[best >= 0], 1)
    is_known = counts >= _ENOUGH
    return np.where(is_known, totals / np.maximum(counts, 1), np.inf)


def _suspects(pair: _Compared, thresholds: Array, classes: Sequence[str]) -> list[Finding]:
    """What the model is sure of in an image, and the truth doesn't have."""
    labels, scores = np.asarray(pair.predicted.labels), np.asarray(pair.predicted.scores)
    true = np.asarray(pair.truth.labels)
    boxes, findings = _boxes(pair.predicted), []
    told: set[int] = set()
    for i in np.argsort(-scores, kind="stable").tolist():
        if scores[i] < thresholds[labels[i]] - _ROUNDING:
            continue
        overlaps, name = pair.overlaps[i], classes[labels[i]]
        box = tuple(map(float, boxes[i]))
        if overlaps.max(initial=0) < _NONE and pair.within[i].max(initial=0) < _WITHIN:
            reason = f"{name} is found with a score of {scores[i]:.2f}, and there is no box"
            findings.append(_finding("missing box", pair.image, scores[i], reason, name, box))
            continue
        at = int(overlaps.argmax()) if len(overlaps) else -1
        is_other = at >= 0 and overlaps[at] >= _SAME and true[at] != labels[i]
        if is_other and at not in told and not _is_confirmed(pair, at, float(scores[i])):
            told.add(at)
            given = classes[true[at]]
            reason = f"called {given}, and found as {name} with a score of {scores[i]:.2f}"
            findings.append(_finding("box label", pair.image, scores[i], reason, name, box))
    return findings


def _is_confirmed(pair: _Compared, at: int, score: float) -> bool:
    """Whether the model finds a true object as what it is called, and with a score as high."""
    labels, true = np.asarray(pair.predicted.labels), np.asarray(pair.truth.labels)
    is_so = (pair.overlaps[:, at] >= _SAME) & (labels == true[at])
    # Ignored objects count neither way.
    is_ignored = pair.truth.ignored is not None and bool(pair.truth.ignored[at])
    return is_ignored or bool((np.asarray(pair.predicted.scores)[is_so] >= score).any())


def _finding(
    kind: str, image: int, score: float, reason: str, suggestion: str, box: Any
) -> Finding:
    return Finding(kind, image, float(score), reason, None, suggestion, box)
