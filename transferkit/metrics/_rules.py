"""What the evaluations of COCO and of DOTA take for found, and how they average a precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COCO", "DOTA", "THRESHOLDS", "Rules", "greedy_partners", "nearest_partners"]

Array = NDArray[Any]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps from which on an object counts as found."""


@dataclass(frozen=True)
class Rules:
    """How detections are matched with objects, and how their precision is averaged.

    Parameters
    ----------
    partners : callable
        Overlaps of the detections of an image, the highest score first, with its objects; for
        each range of areas which objects are to be found; and which ones are ignored → the
        object of each detection, by area and threshold. See `greedy_partners`.
    is_interpolated : bool
        Whether the average precision is read at 101 recalls; else it is the area under the
        precision, which at each recall is the highest one there or at a larger one.
    """

    partners: Callable[[Array, Array, Array], Array]
    is_interpolated: bool


def greedy_partners(overlaps: Array, counts: Array, is_crowd: Array) -> Array:
    """Give each predicted object the free true one that it overlaps with most.

    One that counts is taken before one that doesn't. Of equal overlaps the last is taken.

    Parameters
    ----------
    overlaps : ndarray, shape (m, k)
        0 for pairs that may not be.
    counts : ndarray of bool, shape (areas, k)
        Whether a true object is to be found.
    is_crowd : ndarray of bool, shape (k,)
        Whether it stays free.

    Returns
    -------
    ndarray of int, shape (m, areas, thresholds)
        -1 where there is none.
    """
    thresholds = THRESHOLDS[:, None]
    is_free = np.ones((len(counts), len(thresholds), len(is_crowd)), dtype=bool)
    partners = np.full((len(overlaps), *is_free.shape[:2]), -1)
    for d in np.flatnonzero((overlaps >= THRESHOLDS[0]).any(axis=1)):
        near = np.flatnonzero(overlaps[d] >= THRESHOLDS[0])
        values = overlaps[d, near]
        rank = np.empty(len(near), dtype=np.intp)
        rank[values.argsort(kind="stable")] = np.arange(len(near))
        wish = (rank + len(near) * counts[:, near])[:, None]
        wish = np.where(is_free[:, :, near] & (values >= thresholds), wish, -1)
        best = near[wish.argmax(axis=2)]
        finds = wish.max(axis=2) >= 0
        partners[d][finds] = best[finds]
        finds &= ~is_crowd[best]
        a, t = np.nonzero(finds)
        is_free[a, t, best[finds]] = False
    return partners


def nearest_partners(overlaps: Array, counts: Array, is_crowd: Array) -> Array:
    """Give each predicted object the true one that it overlaps with most, if it is the first there.

    Whether that one is free already plays no part, nor whether it counts: a detection doesn't
    turn to another object. One that counts is found once, by the highest score; one that doesn't
    is found by all.

    Parameters
    ----------
    overlaps, counts, is_crowd
        As in `greedy_partners`; an overlap has to be larger than a threshold.

    Returns
    -------
    ndarray of int, shape (m, areas, thresholds)
        -1 where there is none.
    """
    partners = np.full((len(overlaps), len(counts), len(THRESHOLDS)), -1)
    if not overlaps.size:
        return partners
    nearest, most = overlaps.argmax(axis=1), overlaps.max(axis=1)
    is_free_for_all = ~counts[:, nearest].T
    for t, threshold in enumerate(THRESHOLDS):
        near = np.flatnonzero(most > threshold)
        is_first = np.zeros(len(overlaps), dtype=bool)
        is_first[near[np.unique(nearest[near], return_index=True)[1]]] = True
        finds = (most > threshold)[:, None] & (is_first[:, None] | is_free_for_all)
        partners[:, :, t] = np.where(finds, nearest[:, None], -1)
    return partners


COCO = Rules(partners=greedy_partners, is_interpolated=True)
"""Lin et al. (2014), and https://cocodataset.org/#detection-eval."""
DOTA = Rules(partners=nearest_partners, is_interpolated=False)
"""Xia et al. (2018), "DOTA: a large-scale dataset for object detection in aerial images", whose
evaluation of oriented boxes is that of Pascal VOC. The average is that of VOC from 2010 on; the
script of DOTA's authors can take it at the 11 recalls of VOC 2007 instead."""
