"""Find objects that are unlike the others of their class, and images with too few or too many."""

from __future__ import annotations

from collections.abc import Sequence
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
# How many spreads from the class's median is odd. On blood cells, raccoons, nuclei and vehicles
# from above it is less than one box in a hundred.
_ODD = 5.0
# Sizes and aspects that differ by less than a tenth aren't odd, however alike the others are.
_LEAST_SPREAD = 0.1
# A shorter side can't be drawn on purpose, px.
_TINY = 2.0
# A box that ends so near to the image's edge may be of an object that is cut off, px.
_AT_EDGE = 2.0
# A class of fewer objects can't be learnt.
_RARE = 10
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
    and can't be too small.

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
    is_whole = (boxes[:, :2] > _AT_EDGE).all(1) & (boxes[:, 2:] < extents - _AT_EDGE).all(1)
    reasons: dict[int, tuple[float, str]] = {}
    for at in np.flatnonzero((sides < _TINY).any(1) & is_whole).tolist():
        reasons[at] = (1.0, f"it is only {_shown(sides[at])}")
    for label in np.unique(labels).tolist():
        members = np.flatnonzero((labels == label) & (sides > 0).all(1))
        if len(members) >= _ENOUGH:
            kind = _odd_of_class(sides[members], extents[members], is_whole[members])
            for i, (score, reason) in kind.items():
                reasons.setdefault(int(members[i]), (score, f"{classes[label]}: {reason}"))
    findings = [
        Finding("odd box", int(images[at]), score, reason, box=_corners(boxes[at]))
        for at, (score, reason) in reasons.items()
    ]
    return sorted(findings, key=lambda one: (-one.score, one.image))


def _odd_of_class(sides: Array, extents: Array, is_whole: Array) -> dict[int, tuple[float, str]]:
    """Score and reason of each odd box of a class, by its position."""
    logs = np.log(sides)
    sizes = min((logs.mean(1), logs.mean(1) - np.log(extents).mean(1)), key=_spread_of)
    aspects = logs[:, 0] - logs[:, 1]
    by_size = _spreads_away(sizes, np.ones(len(sides), dtype=bool))
    # A part of an object is small, and of any aspect.
    by_size[~is_whole & (by_size < 0)] = 0
    by_aspect = np.where(is_whole, _spreads_away(aspects, is_whole), 0)
    typical = np.exp(np.median(logs, axis=0))
    odd = {}
    for i in np.flatnonzero(np.maximum(abs(by_size), abs(by_aspect)) > _ODD).tolist():
        of_size = abs(by_size[i]) >= abs(by_aspect[i])
        away = by_size[i] if of_size else by_aspect[i]
        words = ("larger", "smaller") if of_size else ("wider", "narrower")
        reason = (
            f"{_shown(sides[i])}, {words[int(away < 0)]} than the others, which are about "
            f"{_shown(typical)} ({abs(away):.1f} spreads)"
        )
        odd[i] = (float(1 - _ODD / abs(away) / 2), reason)
    return odd


def _spread_of(values: Array) -> float:
    return float(np.median(np.abs(values - np.median(values))))


def _spreads_away(values: Array, is_usual: Array) -> Array:
    """How far each value is from the median, in the spread on its side of it."""
    usual = values[is_usual] if is_usual.any() else values
    middle = np.median(usual)
    above, below = usual[usual >= middle] - middle, middle - usual[usual <= middle]
    high, low = (max(1.4826 * float(np.median(d)), _LEAST_SPREAD) for d in (above, below))
    away = values - middle
    result: Array = np.where(away > 0, away / high, away / low)
    return result


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
    roots = np.sqrt(counts)
    spread = max(1.4826 * _spread_of(roots), 0.5)
    away = (roots - np.median(roots)) / spread
    n_usual, share_empty = np.median(counts), float((counts == 0).mean())
    findings = []
    for at, one in enumerate(objects):
        n = int(counts[at])
        if n == 0 and share_empty <= _FEW_EMPTY:
            reason = f"no object, and {1 - share_empty:.0%} of the images have some"
            findings.append(Finding("missing box", one.image, 1 - share_empty, reason))
        elif abs(away[at]) > _ODD:
            kind = "missing box" if away[at] < 0 else "odd number"
            reason = f"{n:,} object{'s' * (n != 1)}, and half of the images have {n_usual:g} or "
            reason += "more" if away[at] < 0 else "fewer"
            score = float(1 - _ODD / abs(away[at]) / 2)
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
