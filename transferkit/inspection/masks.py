"""Find masks of objects that leak: out of their boxes, into stray parts, around holes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import Annotations, Region
from transferkit.inspection.findings import Finding

__all__ = ["holed_masks", "leaking_masks"]

# Pixels outside of the box that count, as a share of the object; and px that a box may be short.
_OUTSIDE, _SHORT = 0.05, 1
# Parts beside the largest one of no more than this share are strays.
_STRAY = 0.05
# Holes of more than this share count.
_HOLE = 0.01


def leaking_masks(image: int, annotations: Annotations) -> list[Finding]:
    """Masks that leave their boxes, have stray pixels, or parts far from one another.

    An object that something hides may have several parts; only parts of at most 5 % of its
    pixels, or farther from the largest one than that is long, are told.

    Parameters
    ----------
    image : int
        Its position.
    annotations : Annotations
        With masks; boxes are compared with them if there are any.
    """
    findings = []
    for at, region in _regions(annotations):
        share = 0.0
        if annotations.boxes is not None and annotations.oriented is None:
            share = _share_outside(region, np.asarray(annotations.boxes[at], dtype=np.float64))
        if share > _OUTSIDE:
            reason = f"{share:.0%} of its pixels are outside of its box"
            findings.append(_finding(image, region, share, reason))
        elif (stray := _strays(region)) is not None:
            findings.append(_finding(image, region, *stray))
    return findings


def holed_masks(image: int, annotations: Annotations) -> list[Finding]:
    """Masks with holes.

    Parameters
    ----------
    image : int
        Its position.
    annotations : Annotations
        With masks.
    """
    from scipy import ndimage

    findings = []
    for _, region in _regions(annotations):
        n = int(np.count_nonzero(ndimage.binary_fill_holes(region.pixels) & ~region.pixels))
        if n > _HOLE * region.area:
            reason = f"holes of {n:,} px in an object of {region.area:,} px"
            findings.append(_finding(image, region, n / (n + region.area), reason))
    return findings


def _regions(annotations: Annotations) -> Iterator[tuple[int, Region]]:
    """Objects that have pixels and aren't crowds, with their numbers."""
    if annotations.masks is None:
        return
    for at, region in enumerate(annotations.masks.regions):
        is_ignored = annotations.ignored is not None and bool(annotations.ignored[at])
        if region.area and not is_ignored:
            yield at, region


def _share_outside(region: Region, box: NDArray[np.float64]) -> float:
    """Share of an object's pixels that are outside of its box."""
    left, top = np.floor(box[:2]).astype(int) - _SHORT - (region.left, region.top)
    right, bottom = np.ceil(box[2:]).astype(int) + _SHORT - (region.left, region.top)
    inside = region.pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    return 1 - np.count_nonzero(inside) / region.area


def _strays(region: Region) -> tuple[float, str] | None:
    """Score and reason, if parts of an object are small or far away."""
    from scipy import ndimage

    labels, n_parts = ndimage.label(region.pixels, np.ones((3, 3)))
    if n_parts < 2:
        return None
    areas = np.bincount(labels.ravel())[1:]
    places = ndimage.find_objects(labels)
    largest = int(areas.argmax())
    length = max(side.stop - side.start for side in places[largest])
    gaps = [_gap(places[largest], place) for place in places]
    odd = (areas <= _STRAY * areas.sum()) | (np.array(gaps) > length)
    odd[largest] = False
    if not odd.any():
        return None
    is_one = odd.sum() == 1
    reason = f"{odd.sum():,} stray part{'s' * (not is_one)} of {areas[odd].sum():,} px, up to "
    reason += f"{max(g for g, is_odd in zip(gaps, odd, strict=True) if is_odd):.0f} px away"
    return float(1 - areas[odd].sum() / areas.sum()), reason


def _gap(one: tuple[slice, ...], other: tuple[slice, ...]) -> float:
    """How far two rectangles are apart, px."""
    apart = [max(b.start - a.stop, a.start - b.stop, 0) for a, b in zip(one, other, strict=True)]
    return float(np.hypot(*apart))


def _finding(image: int, region: Region, score: float, reason: str) -> Finding:
    left, top, right, bottom = map(float, region.box)
    box: Any = (left, top, right, bottom)
    return Finding("leaking mask", image, score, reason, box=box)
