"""Odd files: of another size, aspect, colour or orientation than nearly all, uniform, unreadable.

What more than one image in twenty has is the data set's nature, and isn't odd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.images import Failure
from transferkit.inspection.appearance import Appearances
from transferkit.inspection.findings import Finding

__all__ = ["odd_files", "unreadable_files"]

Array = NDArray[Any]
# Mean difference between channels, in grey levels, up to which an image is grey.
_GREY = 1.5
# Standard deviation, in grey levels, below which an image is almost uniform.
_UNIFORM = 4.0
# Factor to the usual shorter side, and to the usual aspect, from which on an image is odd.
_TINY, _HUGE, _ASPECT = 1 / 3, 3.0, 1.5
_USUAL = 0.05


def unreadable_files(failures: Sequence[Failure]) -> list[Finding]:
    """Images that can't be read, which are excluded."""
    return [
        Finding("odd file", one.index, 1.0, f"can't be read: {one.reason}", is_excluded=True)
        for one in failures
    ]


def odd_files(seen: Appearances) -> list[Finding]:
    """Find images whose files are unlike nearly all others.

    Parameters
    ----------
    seen : Appearances
        Of the images.

    Returns
    -------
    list of Finding
        Each image once, with all that is odd about it, the oddest first.
    """
    there = np.flatnonzero(seen.sizes.min(axis=1) > 0)
    if not len(there):
        return []
    odd: dict[int, list[tuple[float, str]]] = {}
    for rule in (_colours, _sizes, _aspects, _contrasts, _orientations):
        scores, told = rule(seen, there)
        found = np.flatnonzero(scores > 0)
        # One of a handful is more than one in twenty, and may be odd all the same.
        if len(found) <= max(_USUAL * len(there), 1):
            for i in found.tolist():
                odd.setdefault(int(there[i]), []).append((float(scores[i]), told(i)))
    findings = [
        Finding("odd file", i, round(max(whys)[0], 4), "; ".join(text for _, text in whys))
        for i, whys in odd.items()
    ]
    return sorted(findings, key=lambda one: (-one.score, one.image))


_Rule = tuple[Array, Callable[[int], str]]


def _colours(seen: Appearances, there: Array) -> _Rule:
    grey = seen.colour[there] <= _GREY
    if grey.mean() > 1 / 2:
        return np.where(grey, 0.0, 0.6), lambda i: "in colour, where others are grey"
    return np.where(grey, 0.6, 0.0), lambda i: "grey, where others are in colour"


def _sizes(seen: Appearances, there: Array) -> _Rule:
    sizes = seen.sizes[there]
    shorter = sizes.min(axis=1)
    factor = shorter / np.median(shorter)
    is_odd = (factor <= _TINY) | (factor >= _HUGE)
    scores = np.where(is_odd, 1 - np.minimum(factor, 1 / factor), 0.0)

    def told(i: int) -> str:
        what = "tiny" if factor[i] < 1 else "huge"
        return f"{what}: {sizes[i, 1]} × {sizes[i, 0]} px, {factor[i]:.2g} times the usual size"

    return scores, told


def _aspects(seen: Appearances, there: Array) -> _Rule:
    sizes = seen.sizes[there]
    aspect = np.log(sizes[:, 1] / sizes[:, 0])
    usual = np.median(aspect)
    # Upright and lying photos of one camera are of one aspect.
    away = np.minimum(np.abs(aspect - usual), np.abs(aspect + usual))
    scores = np.where(away >= np.log(_ASPECT), 1 - np.exp(-away), 0.0)

    def told(i: int) -> str:
        return (
            f"of another aspect: {sizes[i, 1]} × {sizes[i, 0]} px, usual is {np.exp(usual):.2f} : 1"
        )

    return scores, told


def _contrasts(seen: Appearances, there: Array) -> _Rule:
    contrast = seen.contrast[there]
    scores = np.where(contrast < _UNIFORM, 1 - contrast / (2 * _UNIFORM), 0.0)
    return (
        scores,
        lambda i: (
            f"almost uniform: pixels differ by {contrast[i]:.1f} grey levels (standard deviation)"
        ),
    )


def _orientations(seen: Appearances, there: Array) -> _Rule:
    orientation = seen.orientation[there]
    return np.where(
        orientation > 1, 0.5, 0.0
    ), lambda i: f"its EXIF orientation ({orientation[i]}) isn't applied; --exif does"
