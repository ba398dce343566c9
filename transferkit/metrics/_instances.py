"""The report of an instance segmentation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from transferkit.annotations import Annotations
from transferkit.metrics._detection import DetectionReport, report_of_objects
from transferkit.metrics._detections import DetectionCounts, count_detections
from transferkit.metrics._masks import MASKS
from transferkit.metrics._metric import four_digits, hundredths, percent
from transferkit.metrics._panoptic import PanopticQuality, PanopticSegments, panoptic_segments
from transferkit.metrics._report import ReportTable

__all__ = [
    "ClassSegments",
    "InstanceCounts",
    "InstanceReport",
    "count_instances",
    "instance_report",
    "report_of_instances",
]

# So many objects in an image, at the median, are a crowd.
_CROWDED = 20


@dataclass(frozen=True, eq=False, kw_only=True)
class InstanceCounts(DetectionCounts):
    """Masks that are found, which are all that a metric of instances is computed from.

    What a `DetectionCounts` holds is told of the masks here.

    Parameters
    ----------
    of_boxes : DetectionCounts
        The same of the boxes.
    segments : PanopticSegments
        The masks once none overlaps another.
    threshold : float, optional
        Score from which on segments are kept for panoptic quality; the best one by F1 if not
        given.
    """

    of_boxes: DetectionCounts
    segments: PanopticSegments
    threshold: float | None = None

    @property
    def chosen(self) -> float:
        """The score threshold; above all scores if no object is found at any."""
        if self.threshold is not None:
            return self.threshold
        return math.inf if self.best is None else self.best.threshold

    @property
    def panoptic(self) -> PanopticQuality:
        """Panoptic quality and its factors, averaged over the classes."""
        return self.segments.average(self.chosen)


def count_instances(
    truth: Iterable[Annotations],
    predicted: Iterable[Annotations],
    classes: Sequence[str],
    *,
    limit: int = 100,
    threshold: float | None = None,
) -> InstanceCounts:
    """Match predicted with true masks and boxes, of one image after the other.

    Parameters
    ----------
    truth, predicted, classes, limit, threshold
        As in `instance_report`.

    Raises
    ------
    ValueError
        As `count_detections` does.

    Examples
    --------
    >>> true = np.zeros((1, 9, 9), dtype=bool)
    >>> true[0, :4, :4] = True
    >>> truth = Annotations((9, 9), masks=true, labels=np.array([1]))
    >>> found = Annotations((9, 9), masks=true, labels=np.array([1]), scores=np.array([0.9]))
    >>> counts = count_instances([truth], [found], ["background", "cell"])
    >>> counts.average_precision(), counts.of_boxes.average_precision(), counts.panoptic.quality
    (1.0, 1.0, 1.0)
    """
    segments: list[PanopticSegments] = []
    boxes: list[tuple[Annotations, Annotations]] = []

    def also(true: Annotations, found: Annotations) -> None:
        segments.append(panoptic_segments(true, found, len(classes)))
        boxes.append((_boxes_of(true), _boxes_of(found)))

    counts = count_detections(
        truth, predicted, classes, limit=limit, shapes=MASKS, task="instances", also=also
    )
    true, found = zip(*boxes, strict=True)
    return InstanceCounts(
        **{each.name: getattr(counts, each.name) for each in dataclasses.fields(counts)},
        of_boxes=count_detections(true, found, classes, limit=limit),
        segments=PanopticSegments.joined(segments),
        threshold=threshold,
    )


def _boxes_of(one: Annotations) -> Annotations:
    """Objects without their masks: so little can be held of every image."""
    assert one.masks is not None
    boxes = one.masks.boxes if one.boxes is None else one.boxes
    return dataclasses.replace(one, boxes=boxes, masks=None, oriented=None, map=None)


@dataclass(frozen=True)
class ClassSegments:
    """Panoptic quality of one class; numbers are None where it is neither there nor found.

    Parameters
    ----------
    label : str
        The class.
    quality, segmentation, recognition : float or None
        PQ, and its factors SQ and RQ.
    """

    label: str
    quality: float | None
    segmentation: float | None
    recognition: float | None


@dataclass(frozen=True)
class InstanceReport(DetectionReport):
    """The result of `instance_report`: what `DetectionReport` tells, of masks; and some more.

    Parameters
    ----------
    box_average_precision, box_ap50 : float or None
        The same of the boxes.
    panoptic_quality, segmentation_quality, recognition_quality : float or None
        PQ, SQ and RQ at the chosen threshold, averaged over the classes.
    segments : tuple of ClassSegments
        These of each class, without the background.
    median_objects : int
        Objects in an image that has any, at the median.
    """

    task: ClassVar[str] = "instances"
    box_average_precision: float | None = None
    box_ap50: float | None = None
    panoptic_quality: float | None = None
    segmentation_quality: float | None = None
    recognition_quality: float | None = None
    segments: tuple[ClassSegments, ...] = ()
    median_objects: int = 0

    def _numbers(self) -> str:
        return f"{super()._numbers()} of masks"

    def notes(self) -> list[tuple[str, str]]:
        """Pairs of name and text that stand below the metrics."""
        notes = super().notes()
        if self.panoptic_quality is None or self.chosen is None:
            return notes
        factors = (
            f"at {four_digits(self.chosen.threshold)}: segmentation quality "
            f"{percent(self.segmentation_quality or 0)}, recognition quality "
            f"{percent(self.recognition_quality or 0)}"
        )
        if self.median_objects >= _CROWDED:
            factors += (
                f"; with {self.median_objects} objects in an image at the median, it tells how "
                "well they are kept apart, as each pixel counts for one of them alone"
            )
        return [*notes, ("panoptic quality", factors)]

    def tables(self) -> list[ReportTable]:
        """Tables of the classes, of panoptic quality, and of the confusions."""
        first, *others = super().tables()
        rows = [
            (row.label, *map(_written, (row.quality, row.segmentation, row.recognition)))
            for row in self.segments
        ]
        title = "panoptic quality, and its factors: segmentation and recognition"
        return [first, ReportTable(("class", "PQ", "SQ", "RQ"), rows, title), *others]


def _written(value: float | None) -> str:
    return "-" if value is None else hundredths(value)


def instance_report(
    truth: Iterable[Annotations],
    predicted: Iterable[Annotations],
    classes: Sequence[str],
    *,
    limit: int = 100,
    threshold: float | None = None,
) -> InstanceReport:
    """Compare predicted masks with the true ones.

    Parameters
    ----------
    truth, predicted : iterable of Annotations
        With masks and labels, the predicted ones with scores, in px of the image; one of each per
        image. They are gone through once, and the masks of only one image are held at a time.
        Boxes are those of the masks where there are none. Keep masks of low scores: the average
        precision needs them.
    classes : sequence of str
        Names of the classes, by number; the first is the background, which isn't reported.
    limit : int, default=100
        Most detections of a class in an image that are measured, those with the highest
        scores; more where images are crowded. Panoptic quality takes all.
    threshold : float, optional
        Score from which on the model's masks are shown, at which panoptic quality, confusions,
        precision and recall are told. The best one by F1 on these very images if not given, which
        flatters a little.

    Returns
    -------
    InstanceReport
        Numbers and tables; no warning is raised where one is undefined.

    Raises
    ------
    ValueError
        If there are no images, or not one object that is to be found; if one side has more
        images than the other, masks, labels or scores are missing, or a class has no name.

    Examples
    --------
    >>> import numpy as np
    >>> masks = np.zeros((2, 100, 100), dtype=bool)
    >>> masks[0, :40, :40] = masks[1, 50:90, 50:90] = True
    >>> truth = Annotations((100, 100), masks=masks, labels=np.array([1, 2]))
    >>> found = Annotations(
    ...     (100, 100), masks=masks, labels=np.array([1, 1]), scores=np.array([0.9, 0.8])
    ... )
    >>> report = instance_report([truth], [found], ["background", "cat", "dog"])
    >>> report.average_precision, report.box_ap50, report.panoptic_quality
    (0.5, 0.5, 0.5)
    """
    counts = count_instances(truth, predicted, classes, limit=limit, threshold=threshold)
    return report_of_instances(counts)


def report_of_instances(counts: InstanceCounts) -> InstanceReport:
    """Make the report from masks that are counted already.

    Parameters
    ----------
    counts : InstanceCounts
        From `count_instances`.

    Raises
    ------
    ValueError
        If there is no object that is to be found.
    """
    by_class, average = counts.segments.of_classes(counts.chosen), counts.panoptic
    is_asked = counts.counts[:, 0]
    n_objects = np.bincount(counts.true_images[is_asked])
    report = report_of_objects(
        InstanceReport,
        counts,
        counts.threshold,
        segmentation_quality=_defined(average.segmentation),
        recognition_quality=_defined(average.recognition),
        segments=tuple(
            ClassSegments(label, *(_defined(values[c]) for values in by_class))
            for c, label in enumerate(counts.classes)
            if c > 0
        ),
        median_objects=int(np.median(n_objects[n_objects > 0])) if n_objects.any() else 0,
    )
    own = "box_average_precision", "box_ap50", "panoptic_quality"
    others = dict(report.others)
    values: dict[str, Any] = {name: others.pop(name) for name in own}
    return dataclasses.replace(report, others=others, **values)


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
