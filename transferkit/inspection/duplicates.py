"""Exact and near duplicates: copies of the same bytes, and slightly changed copies.

Features propose near duplicates and pixels decide. Two images are candidates if one, or its
mirror image, is among the other's nearest neighbours and not farther than neighbours usually are
around there: a distance that is small among photos of everything is usual among photos of hands,
so no one threshold on a cosine suits all data sets. The distance is therefore divided by a local
scale (L. Zelnik-Manor and P. Perona, Self-Tuning Spectral Clustering, 2004). Neighbours are looked
for by the network's features, which a crop changes little, and by small sketches of the edges,
which compression and mirroring change little. Candidates alone are decoded and compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.images import ImageError, ImageSet, read_rgb, rendered
from transferkit.images.items import content_of
from transferkit.inspection.findings import Finding
from transferkit.inspection.likeness import Likeness, edges_of, likeness
from transferkit.inspection.neighbors import Neighbourhoods, nearest_others
from transferkit.solvers.standardize import unit_rows
from transferkit.spec import Preprocess

__all__ = ["LikelyCopy", "candidates_of", "exact_duplicates", "near_duplicates"]

Array = NDArray[Any]
CLOSEST = 5
"""Nearest neighbours that are looked at as candidates."""
LEAST_LIKENESS = 0.92
"""Correlation of edges from which on two images are near duplicates."""
# Distance over local scale up to which a pair is a candidate.
_MOST_RATIO = 0.95
# Edges that are kept in memory, 16 kB each.
_KEPT_EDGES = 4096
# Whose copy stays where copies stand in several splits: what is measured stays as it is.
_STAYING = {"test": 0, "val": 1, None: 2, "train": 3}


@dataclass(frozen=True)
class LikelyCopy:
    """Two images that may be near duplicates, by their features.

    Parameters
    ----------
    first, second : int
        Positions, the smaller first.
    ratio : float
        Distance over the local scale.
    """

    first: int
    second: int
    ratio: float


def exact_duplicates(images: ImageSet, ids: Sequence[bytes]) -> list[Finding]:
    """Find images with the bytes of another one; that one stays and these are excluded.

    Parameters
    ----------
    images : ImageSet
        Readable ones.
    ids : sequence of bytes
        Their row ids.
    """
    groups: dict[bytes, list[int]] = {}
    for i, row in enumerate(ids):
        groups.setdefault(row, []).append(i)
    findings = []
    for group in groups.values():
        kept, *others = sorted(group, key=lambda i: (_staying(images, i), i))
        # A list of paths can't leave out one of two lines of a table that name the same file.
        findings += [
            Finding(
                "exact duplicate",
                i,
                1.0,
                f"the same bytes as the other{_difference(images, i, kept)}",
                other=kept,
                is_excluded=images.names[i] != images.names[kept],
            )
            for i in others
        ]
    return sorted(findings, key=lambda one: (not _is_across(images, one), one.image))


def near_duplicates(
    images: ImageSet,
    spaces: Sequence[tuple[Neighbourhoods, Array | None]],
    *,
    is_copy: Array | None = None,
    exif: bool = False,
    preprocess: Preprocess | None = None,
    most_compared: int = 50_000,
    n_threads: int = 1,
) -> tuple[list[Finding], dict[str, int]]:
    """Find images that are slightly changed copies of another one.

    Parameters
    ----------
    images : ImageSet
        Readable ones.
    spaces : sequence of (Neighbourhoods, ndarray or None)
        What is compared: rows of the images with their neighbours, and the ``(n, d)`` rows of
        their mirror images if there are any.
    is_copy : ndarray of bool, shape (n,), optional
        Images that are left out, because they have the bytes of another one.
    exif : bool, default=False
        Whether the EXIF orientation is applied before pixels are compared.
    preprocess : Preprocess, optional
        Of the backbone, by which images that aren't 8-bit RGB are compared; see `rendered`.
    most_compared : int, default=50_000
        Candidates that are decoded and compared, the nearest; each pair takes a few
        milliseconds.
    n_threads : int, default=1
        That decode and compare.

    Returns
    -------
    list of Finding
        Of each group of copies one image stays, of the part that is measured if there is one;
        the others are excluded.
    dict of str to int
        How many candidates there were, and how many of them were compared.
    """
    found = candidates_of(spaces)
    if is_copy is not None:
        found = [pair for pair in found if not (is_copy[pair.first] or is_copy[pair.second])]
    compared = found[:most_compared]
    likenesses = _compared(images, compared, exif, preprocess, n_threads)
    pairs = {
        (pair.first, pair.second): (pair, like)
        for pair, like in zip(compared, likenesses, strict=True)
        if like is not None and like.score >= LEAST_LIKENESS
    }
    findings = [
        Finding(
            "near duplicate",
            image,
            round(like.score, 4),
            f"likely a copy of the other, {like.described()}: edges correlate by {like.score:.2f}, "
            f"{pair.ratio:.2f} times as far apart as neighbours are"
            f"{_difference(images, image, kept)}",
            other=kept,
            is_excluded=images.names[image] != images.names[kept],
        )
        for image, kept, pair, like in _leaving(images, pairs)
    ]
    findings.sort(key=lambda one: (not _is_across(images, one), -one.score, one.image))
    return findings, {"candidates": len(found), "compared": len(compared)}


def candidates_of(spaces: Sequence[tuple[Neighbourhoods, Array | None]]) -> list[LikelyCopy]:
    """Pairs of images that are as near as neighbours are around there, the nearest first.

    Parameters
    ----------
    spaces : sequence of (Neighbourhoods, ndarray or None)
        Rows of the images with their neighbours, and rows of their mirror images.

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal(size=(40, 9))
    >>> rows[30] = rows[4] + 0.01
    >>> best = candidates_of([(Neighbourhoods.of(rows), None)])[0]
    >>> best.first, best.second
    (4, 30)
    """
    best: dict[tuple[int, int], float] = {}
    for near, mirrored in spaces:
        if len(near.rows) < 2:
            return []
        # The farthest of them is farther than a handful of copies: its distance is the scale.
        scale = near.distance[:, -1]
        # Where there are more copies than that, the scale is theirs: it is at least half the usual.
        scale = np.maximum(scale, np.median(scale) / 2)
        _collect(best, near.index, near.distance, scale)
        if mirrored is not None:
            flipped = unit_rows(np.asarray(mirrored, dtype=np.float32))
            _collect(best, *nearest_others(flipped, near.rows, CLOSEST), scale)
    pairs = [LikelyCopy(first, second, ratio) for (first, second), ratio in best.items()]
    return sorted(pairs, key=lambda pair: (pair.ratio, pair.first, pair.second))


def _collect(
    best: dict[tuple[int, int], float], index: Array, distance: Array, scale: Array
) -> None:
    """Put pairs of neighbours and the least of their ratios into a dictionary."""
    index, distance = index[:, :CLOSEST], distance[:, :CLOSEST]
    ratios = distance / np.maximum(np.sqrt(scale[:, None] * scale[index]), 1e-12)
    for i, column in zip(*np.nonzero(ratios <= _MOST_RATIO), strict=True):
        j = int(index[i, column])
        pair = (min(int(i), j), max(int(i), j))
        best[pair] = min(best.get(pair, np.inf), float(ratios[i, column]))


def _compared(
    images: ImageSet,
    pairs: Sequence[LikelyCopy],
    exif: bool,
    preprocess: Preprocess | None,
    n_threads: int,
) -> list[Likeness | None]:
    """Likeness of each pair by its pixels; None where one can't be read any more."""

    @lru_cache(maxsize=_KEPT_EDGES)
    def edges(i: int) -> Array | None:
        try:
            content = content_of(images.items[i])
            if preprocess is None or preprocess.is_rgb:
                return edges_of(read_rgb(content, exif=exif))
            return edges_of(rendered(content, preprocess))
        except (OSError, ImageError):
            return None

    def compared(pair: LikelyCopy) -> Likeness | None:
        first, second = edges(pair.first), edges(pair.second)
        return None if first is None or second is None else likeness(first, second)

    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(compared, pairs))


def _leaving(
    images: ImageSet, pairs: dict[tuple[int, int], tuple[LikelyCopy, Likeness]]
) -> list[tuple[int, int, LikelyCopy, Likeness]]:
    """Images that leave because they are like one that stays, with that one.

    Images are gone through in the order in which they may stay. One leaves if it is like one
    that stays already: of a row of images, each like the next alone, every other one stays.
    """
    beside: dict[int, list[int]] = {}
    for first, second in pairs:
        beside.setdefault(first, []).append(second)
        beside.setdefault(second, []).append(first)
    staying: set[int] = set()
    leaving = []
    for i in sorted(beside, key=lambda i: (_staying(images, i), i)):
        kept = [(*pairs[min(i, j), max(i, j)], j) for j in beside[i] if j in staying]
        if not kept:
            staying.add(i)
            continue
        pair, like, j = max(kept, key=lambda one: (one[1].score, -one[2]))
        leaving.append((i, j, pair, like))
    return leaving


def _staying(images: ImageSet, i: int) -> int:
    """The smaller, the rather an image stays."""
    return _STAYING.get(None if images.splits is None else images.splits[i], 2)


def _is_across(images: ImageSet, finding: Finding) -> bool:
    assert finding.other is not None
    splits = images.splits
    return splits is not None and splits[finding.image] != splits[finding.other]


def _difference(images: ImageSet, i: int, j: int) -> str:
    """What else is wrong with two copies: other splits, other labels; for a sentence's end."""
    text = ""
    for values, what in ((images.splits, "split"), (images.labels, "label")):
        if values is not None and values[i] != values[j]:
            text += f"; {what} {_written(values[i])}, of the other {_written(values[j])}"
    return text


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else repr(value)
