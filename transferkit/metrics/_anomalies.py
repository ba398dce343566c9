"""`AnomalyScores`: scores of good and strange images and pixels, gathered image by image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from transferkit.annotations import VOID, Annotations

__all__ = ["AnomalyScores", "area", "gather_scores", "shrunk"]

Array = NDArray[Any]

# Bits of a score that tell its bin: sign, exponent and the first 11 of the fraction.
_BITS = 20
_NEIGHBOURS = np.ones((3, 3), dtype=int)


@dataclass(frozen=True, eq=False)
class AnomalyScores:
    """Scores of images and of pixels beside the truth, which all metrics are computed from.

    Pixels aren't kept: they are counted in bins of their scores. A bin holds scores that differ
    by less than 0.05 %, which count as equal; so an AUROC or AUPRO is off by less than half the
    share of pairs of a good and a strange pixel that are that close.

    Parameters
    ----------
    images : ndarray of shape (n_images,)
        Score of each image.
    is_anomalous : ndarray of bool, shape (n_images,)
        Whether each image is strange.
    good, strange : ndarray of int, shape (n_bins,)
        Good and strange pixels, by bin, ascending.
    regions : ndarray of shape (n_bins,)
        Strange pixels by bin, each counted as its share of its connected region.
    n_regions : int
        How many regions there are.
    threshold : float or None
        Images with a larger score are said to be strange; None if nothing is said.
    """

    task: ClassVar[str] = "anomaly"
    images: Array
    is_anomalous: Array
    good: Array
    strange: Array
    regions: Array
    n_regions: int
    threshold: float | None

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def is_flagged(self) -> Array | None:
        """Whether each image is said to be strange."""
        return None if self.threshold is None else self.images > self.threshold

    @cached_property
    def pixel_curve(self) -> tuple[Array, Array, Array]:
        """Shares of good pixels, strange pixels and regions above a threshold that falls.

        NaN where there are none.
        """
        used = (self.good > 0) | (self.strange > 0)
        shares = []
        for counts, total in (
            (self.good, self.good.sum()),
            (self.strange, self.strange.sum()),
            (self.regions, self.n_regions),
        ):
            above = np.concatenate([[0], np.cumsum(counts[used][::-1])])
            shares.append(above / total if total else np.full(len(above), np.nan))
        return shares[0], shares[1], shares[2]

    def pixel_score(self, share: float) -> float | None:
        """Score that this share of all known pixels is below, to 0.05 %; None without pixels.

        Parameters
        ----------
        share : float
            From 0 to 1.
        """
        counts = np.cumsum(self.good + self.strange)
        if not counts[-1]:
            return None
        place = np.searchsorted(counts, np.clip(share * counts[-1], 1, counts[-1]))
        return _score_of_bin(int(place))


def gather_scores(
    truth: Iterable[Annotations | None],
    predicted: Iterable[Annotations],
    is_anomalous: Sequence[bool] | Array | None = None,
    threshold: float | None = None,
) -> AnomalyScores:
    """Gather scores beside the truth, of one image after the other.

    Parameters
    ----------
    truth : iterable of Annotations or None
        Maps in which 0 is good, `VOID` isn't known and anything else is strange; None, or
        without a map, where no pixel is known.
    predicted : iterable of Annotations
        With `score` and, if pixels are to be measured, `score_map`.
    is_anomalous : sequence of bool, optional
        Whether each image is strange; by default those whose true score isn't 0 or, without
        one, whose true map has a strange pixel. All pixels of a good image are good.
    threshold : float, optional
        Images with a larger score are said to be strange.

    Raises
    ------
    ValueError
        If there are no images, one side has more than the other, a score is missing or isn't
        finite, or nothing tells whether an image is strange.
    """
    images, strange = [], []
    pixels = np.zeros((2, 1 << _BITS), dtype=np.int64)
    regions, n_regions = np.zeros(1 << _BITS), 0
    for i, (true, found) in enumerate(_pairs(truth, predicted)):
        is_strange = _is_strange(i, true, is_anomalous)
        images.append(_score(i, found))
        strange.append(is_strange)
        known = None if found.score_map is None else _known(i, true, found, is_strange)
        if known is None:
            continue
        assert found.score_map is not None
        bins = _bins(i, found.score_map)
        for kind in (0, 1):
            np.add.at(pixels[kind], bins[known == kind], 1)
        numbers, count = label(known == 1, structure=_NEIGHBOURS)
        if count:
            inside = numbers > 0
            weights = 1 / np.bincount(numbers[inside])[numbers[inside]]
            np.add.at(regions, bins[inside], weights)
            n_regions += count
    if is_anomalous is not None and len(is_anomalous) != len(images):
        raise ValueError(
            f"is_anomalous tells of {len(is_anomalous)} images, and there are {len(images)}; give "
            "one value for each"
        )
    if not images:
        raise ValueError("there are no images to measure with; give at least one")
    return AnomalyScores(
        np.array(images),
        np.array(strange, bool),
        pixels[0],
        pixels[1],
        regions,
        n_regions,
        threshold,
    )


def area(heights: Array, at: Array) -> float:
    """Area below a line through points, whose places ascend."""
    return float((np.diff(at) * (heights[1:] + heights[:-1])).sum() / 2)


def shrunk(mask: Array, size: tuple[int, int]) -> Array:
    """Shrink a mask so that no part of it gets lost: a pixel counts if any of its box does.

    The nearest pixel alone would miss thin defects.

    Parameters
    ----------
    mask : ndarray of bool, shape (height, width)
        What is shrunk.
    size : (int, int)
        Height and width, px.

    Examples
    --------
    >>> shrunk(np.eye(4, dtype=bool), (2, 2)).tolist()
    [[True, False], [False, True]]
    """
    for axis, n in enumerate(size):
        edges = np.arange(n + 1) * mask.shape[axis] / n
        starts = np.minimum(np.floor(edges[:-1]).astype(int), mask.shape[axis] - 1)
        ends = np.maximum(np.ceil(edges[1:]).astype(int), starts + 1)
        summed = np.cumsum(mask, axis=axis, dtype=np.int64)
        summed = np.insert(summed, 0, 0, axis=axis)
        mask = np.take(summed, ends, axis=axis) > np.take(summed, starts, axis=axis)
    return mask


def _pairs(
    truth: Iterable[Annotations | None], predicted: Iterable[Annotations]
) -> Iterator[tuple[Annotations | None, Annotations]]:
    nothing: Any = object()
    for i, (true, found) in enumerate(zip_longest(truth, predicted, fillvalue=nothing)):
        if true is nothing or found is nothing:
            less, more = ("truth", "predictions")[:: 1 if true is nothing else -1]
            raise ValueError(f"there is no {less} for image {i}, but {more}; give one of each")
        yield true, found


def _is_strange(
    i: int, true: Annotations | None, is_anomalous: Sequence[bool] | Array | None
) -> bool:
    if is_anomalous is not None:
        if i >= len(is_anomalous):
            raise ValueError(
                f"is_anomalous tells of {len(is_anomalous)} images, and there are more; give one "
                "value for each"
            )
        return bool(is_anomalous[i])
    if true is not None and true.score is not None:
        return bool(true.score)
    if true is None or true.map is None:
        raise ValueError(
            f"nothing tells whether image {i} is strange; give is_anomalous, a true map, or a "
            "true score of 0 or 1"
        )
    return bool(((true.map != 0) & (true.map != VOID)).any())


def _score(i: int, found: Annotations) -> float:
    if found.score is None or not np.isfinite(found.score):
        raise ValueError(f"the prediction of image {i} has score {found.score}; give a number")
    return float(found.score)


def _known(i: int, true: Annotations | None, found: Annotations, is_strange: bool) -> Array | None:
    """0 for good, 1 for strange and -1 for unknown pixels, at the prediction's size; or None."""
    if true is None or true.map is None:
        return None if is_strange else np.zeros(found.size, np.int8)
    strange, void = (true.map != 0) & (true.map != VOID), true.map == VOID
    if not is_strange and strange.any():
        raise ValueError(
            f"image {i} is said to be good, but {strange.sum():,} of its pixels aren't"
        )
    if true.size != found.size:
        if min(np.array(true.size) - found.size) < 0:
            raise ValueError(
                f"the true map of image {i} is {true.size[0]} × {true.size[1]} px and its scores "
                f"{found.size[0]} × {found.size[1]}; give scores that are no finer than the truth"
            )
        strange, void = shrunk(strange, found.size), shrunk(void, found.size)
    return np.where(strange, 1, np.where(void, -1, 0)).astype(np.int8)


def _bins(i: int, scores: Array) -> Array:
    """Bin of each score: the first bits of the number, in an order that is that of numbers."""
    values = np.ascontiguousarray(scores, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"pixels of image {i} have scores that aren't finite; give numbers")
    # -0 is 0. Of negative numbers all bits are turned round, of the others only the sign's, so
    # that the bits, as a whole number, ascend with the number.
    bits = (values + np.float32(0)).view(np.uint32)
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    bins: Array = (ordered >> (32 - _BITS)).astype(np.int64)
    return bins


def _score_of_bin(place: int) -> float:
    """The least score of a bin; see `_bins`."""
    ordered = np.uint32(place << (32 - _BITS))
    is_negative = not ordered >> np.uint32(31)
    bits = ~ordered if is_negative else ordered & np.uint32((1 << 31) - 1)
    return float(bits.view(np.float32))
