"""Oriented boxes: how much they overlap, and the report of a detection of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transferkit.annotations import Annotations
from transferkit.metrics._detection import DetectionReport, report_of_objects
from transferkit.metrics._detections import count_detections
from transferkit.metrics._matching import Shapes
from transferkit.metrics._rules import DOTA

__all__ = ["ORIENTED", "OrientedReport", "oriented_overlaps", "oriented_report"]

Array = NDArray[Any]


def oriented_overlaps(boxes: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of every oriented box with every other one.

    It is exact, also where boxes are almost the same.

    Parameters
    ----------
    boxes : array of shape (m, 5)
        Centre x and y, two sides, px, and the angle of the first in degrees, counter-clockwise;
        see `transferkit.images.oriented`.
    others : array of shape (k, 5)
        The other ones.

    Returns
    -------
    ndarray of shape (m, k)
        From 0 to 1; 0 where both have no area.

    Raises
    ------
    ValueError
        If a shape is another one.

    Examples
    --------
    >>> oriented_overlaps([[5, 5, 8, 2, 0]], [[5, 5, 8, 2, -90], [5, 5, 4, 1, 0]]).round(3).tolist()
    [[0.143, 0.25]]
    """
    import torch

    from transferkit.metrics._clipping import oriented_ious

    arrays = [np.asarray(given, dtype=np.float64) for given in (boxes, others)]
    for array in arrays:
        if array.ndim != 2 or array.shape[1] != 5:
            raise ValueError(
                f"oriented boxes of shape {array.shape}; give centre x and y, two sides and an "
                "angle as (m, 5)"
            )
    one, other = map(torch.from_numpy, arrays)
    ious: NDArray[np.float64] = oriented_ious(one, other).numpy()
    return ious


# ---- what is measured ---------------------------------------------------------------


def _boxes(annotations: Annotations) -> Array:
    assert annotations.oriented is not None
    return np.asarray(annotations.oriented, dtype=np.float64)


def _overlaps(found: Annotations, true: Annotations, is_difficult: Array) -> Array:
    return oriented_overlaps(_boxes(found), _boxes(true))


def _areas(annotations: Annotations) -> Array:
    areas: Array = _boxes(annotations)[:, 2:4].prod(axis=1)
    return areas


def _places(annotations: Annotations) -> Array:
    return _boxes(annotations) / _units(np.array([annotations.size]))


def _with_typical(places: Array, sizes: Array) -> Array:
    """Overlaps with the box of the median centre and sides, turned to the mean direction."""
    import torch

    from transferkit.metrics._clipping import paired_oriented_ious

    typical = np.median(places, axis=0)
    # A direction is the same after half a turn, so it is twice the angle that has a mean.
    doubled = np.deg2rad(2 * places[:, 4])
    typical[4] = np.rad2deg(np.arctan2(np.sin(doubled).mean(), np.cos(doubled).mean())) / 2
    boxes = (torch.from_numpy(given * _units(sizes)) for given in (typical, places))
    ious: Array = paired_oriented_ious(*boxes).numpy()
    return ious


def _units(sizes: Array) -> Array:
    """Unit of each number of an oriented box, px, for heights and widths of shape (m, 2)."""
    height, width = sizes.T.astype(np.float64)
    side = np.sqrt(height * width)
    return np.stack([width, height, side, side, np.ones_like(side)], axis=1)


ORIENTED = Shapes(
    overlaps=_overlaps,
    areas=_areas,
    held="oriented",
    rules=DOTA,
    places=_places,
    with_typical=_with_typical,
)
"""Oriented boxes, as DOTA measures them."""


# ---- the report ---------------------------------------------------------------------


@dataclass(frozen=True)
class OrientedReport(DetectionReport):
    """The result of `oriented_report`: a `DetectionReport` whose overlaps are those of rectangles.

    Parameters
    ----------
    n, n_empty, n_objects, n_ignored, n_detections, limit, average_precision, ap50, ap75
        As in `DetectionReport`.
    ap_small, ap_medium, ap_large, average_recall, best, chosen, classes, confusion, labels
        As in `DetectionReport`.
    baseline : Baseline or None
        As in `DetectionReport`; the boxes have the median centre and sides of the class's
        objects, and their mean direction.
    others : mapping of str to (float or None)
        As in `DetectionReport`.
    """

    task: ClassVar[str] = "oriented"


def oriented_report(
    truth: Iterable[Annotations],
    predicted: Iterable[Annotations],
    classes: Sequence[str],
    *,
    limit: int = 2000,
    threshold: float | None = None,
) -> OrientedReport:
    """Compare predicted oriented boxes with the true ones, by the rules of DOTA.

    Of each class, the detection with the highest score is looked at first. It is set beside the
    object that it overlaps with most. If they overlap by more than a threshold, it is a hit if it
    is the first one there, and else false; an object that is ignored, which DOTA calls difficult,
    may be found or not and counts neither way. The average precision is the area under the
    precision, which at each recall is the highest one there or at a larger one.

    Parameters
    ----------
    truth, predicted : iterable of Annotations
        As in `detection_report`, with oriented boxes.
    classes : sequence of str
        Names of the classes, by number; the first is the background, which isn't reported.
    limit : int, default=2000
        Most detections of a class in an image that are measured. DOTA has no limit.
    threshold : float, optional
        As in `detection_report`.

    Returns
    -------
    OrientedReport
        AP is the mean over overlaps of 0.50, 0.55 … 0.95; DOTA's own figure is AP50.

    Raises
    ------
    ValueError
        As `detection_report`.

    References
    ----------
    Xia et al. (2018), "DOTA: a large-scale dataset for object detection in aerial images";
    Everingham et al. (2015), "The Pascal visual object classes challenge: a retrospective",
    section 3.2, for the average precision of 2010 and later. The script of DOTA's authors also
    has that of 2007, at 11 recalls.

    Examples
    --------
    >>> boxes = np.array([[20.0, 20, 30, 10, 30], [70, 70, 30, 10, -30]])
    >>> truth = Annotations((100, 100), oriented=boxes, labels=np.array([1, 2]))
    >>> found = Annotations(
    ...     (100, 100), oriented=boxes, labels=np.array([1, 1]), scores=np.array([0.9, 0.8])
    ... )
    >>> oriented_report([truth], [found], ["background", "ship", "plane"]).ap75
    0.5
    """
    counts = count_detections(
        truth, predicted, classes, limit=limit, shapes=ORIENTED, task="oriented"
    )
    return report_of_objects(OrientedReport, counts, threshold)
