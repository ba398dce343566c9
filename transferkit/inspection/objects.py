"""Find objects that are unlike the others of their class, and images with too few or too many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import Annotations
from transferkit.inspection.findings import Finding

__all__ = ["ImageObjects", "objects_of", "odd_boxes", "odd_numbers", "rare_classes"]

Array = NDArray[Any]
# A class says what is usual only if it has so many objects, and a data set if it has so many
# images.
_ENOUGH = 20
# How many spreads from the class's median is odd: at these one box in a thousand is told on
# blood cells, raccoons, nuclei, boards and vehicles from above, and of odd sizes half are
# mistakes. Aspects have long tails, as things lie lengthwise or are hidden in part.
_ODD_SIZE, _ODD_ASPECT = 5.0, 8.0
# A size fits another class that is so few spreads from its median.
_FITS = 2.0
# Sizes and aspects that differ by less than a tenth aren't odd, however alike the others are.
_LEAST_SPREAD = 0.1
# A shorter side can't be drawn on purpose, px.
_TINY = 2.0
# A box that ends so near to the image's edge may be of an object that is cut off, px.
_AT_EDGE = 2.0
# A class of fewer objects can't be learnt.
_RARE = 10
# How many spreads from the median a number of objects is odd.
_ODD_NUMBER = 4.0
# Images without any object are odd if they are no more than this share.
_FEW_EMPTY = 0.1


@dataclass(frozen=True, eq=False)
class ImageObjects:
    """What is known of the objects of an image, without their pixels.

    Parameters
    ----------
    image : int
        Position of the image.
    size : (int, int)
        Its height and width, px.
    labels : ndarray of int, shape (m,)
        Class of each object.
    boxes : ndarray of shape (m, 4)
        Upright boxes, xyxy px.
    sides : ndarray of shape (m, 2)
        Width and height; of oriented boxes the longer and the shorter side.
    """

    image: int
    size: tuple[int, int]
    labels: Array
    boxes: Array
    sides: Array


def objects_of(image: int, annotations: Annotations) -> ImageObjects:
    """Objects of an image that count; crowds and difficult ones don't.

    Parameters
    ----------
    image : int
        Its position.
    annotations : Annotations
        With labels, and boxes, oriented boxes or masks.
    """
    if annotations.ignored is not None:
        annotations = annotations.select(~annotations.ignored)
    boxes = annotations.boxes
    if boxes is None:
        boxes = np.zeros((0, 4)) if annotations.masks is None else annotations.masks.boxes
    boxes = np.asarray(boxes, dtype=np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    if annotations.oriented is not None:
        sides = np.asarray(annotations.oriented, dtype=np.float64)[:, 2:4]
    return ImageObjects(image, annotations.size, np.asarray(annotations.labels), boxes, sides)


def odd_boxes(objects: Sequence[ImageObjects], classes: Sequence[str]) -> list[Finding]:
    """Boxes of a size or aspect that is rare in their class, and boxes of a pixel or two.

    The logarithms of size and aspect are compared with their median in the class, in spreads
    (1.4826 × the median deviation, above and below apart). Size is in px or, if that varies less,
    a share of the image. Objects that the image's edge may cut off have no aspect to compare,
    and can't be too small. A box whose size fits another class has that as its suggestion.

    Parameters
    ----------
    objects : sequence of ImageObjects
        Of all images.
    classes : sequence of str
        Names of the classes, by number.
    """
    if not any(len(one.labels) for one in objects):
        return []
    labels = np.concatenate([one.labels for one in objects])
    sides = np.concatenate([one.sides for one in objects])
    extents = np.concatenate([np.tile(one.size[::-1], (len(one.labels), 1)) for one in objects])
    boxes = np.concatenate([one.boxes for one in objects])
    images = np.repeat([one.image for one in objects], [len(one.labels) for one in objects])
    is_inside = np.concatenate([boxes[:, :2], extents - boxes[:, 2:]], axis=1) > _AT_EDGE
    is_whole = np.asarray(is_inside.all(axis=1))
    usual = {
        label: Spread.of(np.log(sides[labels == label]).mean(1))
        for label in np.unique(labels[(sides > 0).all(1)]).tolist()
        if np.count_nonzero((labels == label) & (sides > 0).all(1)) >= _ENOUGH
    }
    found: dict[int, tuple[float, str, str]] = {}
    for at in np.flatnonzero((sides < _TINY).any(1) & is_whole).tolist():
        found[at] = (1.0, f"it is only {_shown(sides[at])}", "")
    for label in usual:
        members = np.flatnonzero((labels == label) & (sides > 0).all(1))
        odd = _odd_of_class(sides[members], extents[members], is_whole[members])
        for i, (score, reason) in odd.items():
            at, other = int(members[i]), _fitting(sides[members[i]], usual)
            fits = "" if other is None or other == label else classes[other]
            found.setdefault(at, (score, f"{classes[label]}: {reason}", fits))
    findings = [
        Finding("odd box", int(images[at]), score, reason, None, fits, _corners(boxes[at]))
        for at, (score, reason, fits) in found.items()
    ]
    return sorted(findings, key=lambda one: (-one.score, one.image))


@dataclass(frozen=True)
class Spread:
    """What is usual of some values: their median, and the spread below and above it.

    Parameters
    ----------
    middle, low, high : float
        The median; 1.4826 × the median distance from it, of the values below it and above.
    """

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Array) -> Spread:
        """Look at values, which are logarithms."""
        middle = float(np.median(values))
        below, above = middle - values[values <= middle], values[values >= middle] - middle
        low, high = (max(1.4826 * float(np.median(d)), _LEAST_SPREAD) for d in (below, above))
        return cls(middle, low, high)

    def away(self, values: Array) -> Array:
        """How far values are from the median, in spreads."""
        off = values - self.middle
        result: Array = np.where(off > 0, off / self.high, off / self.low)
        return result


def _odd_of_class(sides: Array, extents: Array, is_whole: Array) -> dict[int, tuple[float, str]]:
    """Score and reason of each odd box of a class, by its position."""
    logs = np.log(sides)
    sizes = min((logs.mean(1), logs.mean(1) - np.log(extents).mean(1)), key=_spread_of)
    by_size = Spread.of(sizes).away(sizes) / _ODD_SIZE
    by_size[~is_whole & (by_size < 0)] = 0  # a part of an object
    by_aspect = np.zeros(len(sides))
    if np.count_nonzero(is_whole) >= _ENOUGH:
        aspects = logs[is_whole, 0] - logs[is_whole, 1]
        by_aspect[is_whole] = Spread.of(aspects).away(aspects) / _ODD_ASPECT
    typical = np.exp(np.median(logs, axis=0))
    odd = {}
    for i in np.flatnonzero(np.maximum(abs(by_size), abs(by_aspect)) > 1).tolist():
        of_size = abs(by_size[i]) >= abs(by_aspect[i])
        away, limit = (by_size, _ODD_SIZE) if of_size else (by_aspect, _ODD_ASPECT)
        words = ("larger", "smaller") if of_size else ("wider", "narrower")
        reason = (
            f"{_shown(sides[i])}, {words[int(away[i] < 0)]} than the others, which are about "
            f"{_shown(typical)} ({limit * abs(away[i]):.1f} spreads)"
        )
        odd[i] = (float(1 - 0.5 / abs(away[i])), reason)
    return odd


def _fitting(sides: Array, usual: Mapping[int, Spread]) -> int | None:
    """The class whose sizes a box fits best; None if it fits none."""
    size = np.log(sides).mean()
    away = {label: abs(float(one.away(size))) for label, one in usual.items()}
    best = min(away, key=lambda label: away[label])
    return best if away[best] < _FITS else None


def _spread_of(values: Array) -> float:
    return float(np.median(np.abs(values - np.median(values))))


def odd_numbers(objects: Sequence[ImageObjects]) -> list[Finding]:
    """Images with far fewer or more objects than the others, and those without any.

    The square roots of the numbers are compared, whose spread is about the same however many
    objects images have.

    Parameters
    ----------
    objects : sequence of ImageObjects
        Of all images that have annotations, those without objects too.
    """
    if len(objects) < _ENOUGH:
        return []
    counts = np.array([len(one.labels) for one in objects])
    share_empty = float((counts == 0).mean())
    if share_empty == 1:
        return []
    usual = np.sqrt(counts[counts > 0])
    away = (np.sqrt(counts) - np.median(usual)) / max(1.4826 * _spread_of(usual), 0.5)
    n_usual = round(float(np.median(counts[counts > 0])))
    findings = []
    for at, one in enumerate(objects):
        n = int(counts[at])
        if n == 0 and share_empty > _FEW_EMPTY:
            continue
        if n == 0:
            reason = f"no object, and {1 - share_empty:.0%} of the images have some"
            findings.append(Finding("missing box", one.image, 1 - share_empty, reason))
        elif abs(away[at]) > _ODD_NUMBER:
            kind = "missing box" if away[at] < 0 else "odd number"
            reason = f"{n:,} object{'s' * (n != 1)}, and images have about {n_usual:,}"
            score = float(1 - _ODD_NUMBER / abs(away[at]) / 2)
            findings.append(Finding(kind, one.image, score, reason))
    return sorted(findings, key=lambda one: (one.kind, -one.score, one.image))


def rare_classes(objects: Sequence[ImageObjects], classes: Sequence[str]) -> list[Finding]:
    """Classes with so few objects that they may be slips of the pen; each by its first object.

    Parameters
    ----------
    objects : sequence of ImageObjects
        Of all images.
    classes : sequence of str
        Names of the classes, by number.
    """
    counts = np.zeros(len(classes), dtype=np.int64)
    first: dict[int, tuple[int, Array]] = {}
    for one in objects:
        for label, box in zip(one.labels.tolist(), one.boxes, strict=True):
            counts[label] += 1
            first.setdefault(label, (one.image, box))
    findings = []
    for label, (image, box) in first.items():
        n = int(counts[label])
        if n < _RARE <= counts.max() / 10:
            reason = f"{classes[label]} has {n} object{'s' * (n != 1)}, others up to "
            reason += f"{counts.max():,}"
            findings.append(
                Finding("rare class", image, 1 - n / counts.max(), reason, box=_corners(box))
            )
    return sorted(findings, key=lambda one: (-one.score, one.image))


def _corners(box: Array) -> tuple[float, float, float, float]:
    left, top, right, bottom = map(float, box)
    return left, top, right, bottom


def _shown(sides: Array) -> str:
    return f"{sides[0]:.3g} × {sides[1]:.3g} px"
