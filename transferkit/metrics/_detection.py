"""The report of a detection, and what the reports of all tasks that find objects share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import Annotations
from transferkit.metrics._baseline import Baseline
from transferkit.metrics._confusions import confusion_table
from transferkit.metrics._detection_baseline import detection_baseline
from transferkit.metrics._detections import AtThreshold, DetectionCounts, count_detections
from transferkit.metrics._metric import four_digits, hundredths, percent
from transferkit.metrics._pixels import mean_of_defined
from transferkit.metrics._precision import PrecisionPoint
from transferkit.metrics._registry import measured
from transferkit.metrics._report import ReportTable, TaskReport

__all__ = [
    "ClassDetections",
    "DetectionReport",
    "detection_report",
    "report_of_detections",
    "report_of_objects",
]

Array = NDArray[Any]

_METRICS = (
    *("average_precision", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    "average_recall",
)
MISSED, FALSE = "nothing found", "no object"
"""The column of the objects that nobody found, and the row of detections without an object."""


@dataclass(frozen=True)
class ClassDetections:
    """One class of a detection's report; numbers are None where they are undefined.

    Parameters
    ----------
    label : str
        The class.
    average_precision, ap50, ap75 : float or None
        None if it has no object.
    precision : float or None
        Share of its detections at the chosen threshold that find an object; None if there are
        none.
    recall : float or None
        Share of its objects that are found there; None if it has no object.
    objects : int
        That are to be found.
    detections : int
        At the best threshold, without those that count neither way.
    images : int
        That have such an object.
    curve : tuple of PrecisionPoint
        Precision over recall at an overlap of 0.5, at no more than 50 scores.
    """

    label: str
    average_precision: float | None
    ap50: float | None
    ap75: float | None
    precision: float | None
    recall: float | None
    objects: int
    detections: int
    images: int
    curve: tuple[PrecisionPoint, ...]


@dataclass(frozen=True)
class DetectionReport(TaskReport):
    """The result of `detection_report`; those of other tasks that find objects are made of it.

    Parameters
    ----------
    n, n_empty : int
        Images, and those of them without an object that is to be found.
    n_objects, n_ignored : int
        Objects that are to be found, and those that count neither way.
    n_detections : int
        That are measured, whatever their score.
    limit : int
        Most detections of a class in an image that are measured.
    average_precision, ap50, ap75 : float
        See the files of these names.
    ap_small, ap_medium, ap_large : float or None
        None if there is no object of such an area.
    average_recall : float
        At `limit` detections.
    best : AtThreshold or None
        The score threshold with the highest F1 over all classes, and what it gives; None if no
        object is found.
    chosen : AtThreshold or None
        The threshold that was asked for, else the best one.
    classes : tuple of ClassDetections
        One per class, without the background.
    confusion : tuple of tuple of int
        Objects at the chosen threshold; row = true class, then detections where no object is;
        column = predicted class, then objects that nobody found.
    labels : tuple of str
        Classes of the rows, without the background.
    baseline : Baseline or None
        AP and AP50 with their intervals, from a bootstrap over the images, beside those of each
        class's median box in every image.
    others : mapping of str to (float or None)
        The metrics of `transferkit.metrics.of` that are none of these.
    """

    task: ClassVar[str] = "detection"
    n: int
    n_empty: int
    n_objects: int
    n_ignored: int
    n_detections: int
    limit: int
    average_precision: float
    ap50: float
    ap75: float
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    average_recall: float
    best: AtThreshold | None
    chosen: AtThreshold | None
    classes: tuple[ClassDetections, ...]
    confusion: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...]
    baseline: Baseline | None = None
    others: Mapping[str, float | None] = field(default_factory=dict, hash=False)

    def _numbers(self) -> str:
        interval = self._range("average_precision", hundredths)
        return f"{percent(self.average_precision)} AP{interval}, {percent(self.ap50)} AP50"

    def notes(self) -> list[tuple[str, str]]:
        """Pairs of name and text that stand below the metrics."""
        notes = super().notes()
        if self.chosen is not None and self.chosen != self.best:
            notes.append(("threshold", _told(self.chosen)))
        notes.append(("best threshold", _told(self.best)))
        absent = [row.label for row in self.classes if not row.objects]
        if absent:
            some = ", ".join(absent[:5]) + " …" * (len(absent) > 5)
            notes.append(("left out", f"{some}: no object in these images"))
        if self.n_empty:
            notes.append(("without objects", f"{self.n_empty:,} of the images"))
        if self.n_ignored:
            notes.append(("ignored", f"{self.n_ignored:,} objects, which count neither way"))
        return notes

    def tables(self) -> list[ReportTable]:
        """Tables of the classes and of the confusions; with many classes, of the largest ones."""
        shares = "average_precision", "ap50", "ap75", "precision", "recall"
        header = ("class", "AP", "AP50", "AP75", *shares[3:], "objects", "detections", "images")
        rows = [
            (
                row.label,
                *(_written(getattr(row, name)) for name in shares),
                *(f"{number:,}" for number in (row.objects, row.detections, row.images)),
            )
            for row in self.classes
        ]
        labels, columns = (*self.labels, FALSE), (*self.labels, MISSED)
        table = confusion_table(self.confusion, labels, columns, unit="objects", written=_counted)
        return [ReportTable(header, rows), table]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        classes = [
            dataclasses.asdict(row) | {"curve": [point._asdict() for point in row.curve]}
            for row in self.classes
        ]
        best, chosen = (None if at is None else at._asdict() for at in (self.best, self.chosen))
        return super().to_dict() | {
            "best": best,
            "chosen": chosen,
            "classes": classes,
            "confusion": [list(row) for row in self.confusion],
            "labels": list(self.labels),
        }


def _told(at: AtThreshold | None) -> str:
    if at is None:
        return "none: no object is found"
    precision, recall, f1 = (
        "n/a" if value is None else percent(value) for value in (at.precision, at.recall, at.f1)
    )
    return f"{four_digits(at.threshold)}: precision {precision}, recall {recall}, F1 {f1}"


def _written(value: float | None) -> str:
    return "-" if value is None else hundredths(value)


def _counted(number: float) -> str:
    return f"{number:,}"


def detection_report(
    truth: Iterable[Annotations],
    predicted: Iterable[Annotations],
    classes: Sequence[str],
    *,
    limit: int = 100,
    threshold: float | None = None,
) -> DetectionReport:
    """Compare predicted boxes with the true ones.

    Parameters
    ----------
    truth, predicted : iterable of Annotations
        With boxes and labels, the predicted ones with scores, in px of the image; one of each
        per image. They are gone through once, and only one image of each is held at a time.
        Keep boxes of low scores: the average precision needs them.
    classes : sequence of str
        Names of the classes, by number; the first is the background, which isn't reported.
    limit : int, default=100
        Most detections of a class in an image that are measured, those with the highest
        scores; more where images are crowded.
    threshold : float, optional
        Score from which on the model's boxes are shown, at which confusions, precision and
        recall are told. The best one by F1 on these very images if not given, which flatters a
        little.

    Returns
    -------
    DetectionReport
        Numbers and tables; no warning is raised where one is undefined.

    Raises
    ------
    ValueError
        If there are no images, or not one object that is to be found; if one side has more
        images than the other, boxes, labels or scores are missing, or a class has no name.

    Examples
    --------
    >>> import numpy as np
    >>> boxes = np.array([[0.0, 0, 40, 40], [50, 50, 90, 90]])
    >>> truth = Annotations((100, 100), boxes=boxes, labels=np.array([1, 2]))
    >>> found = Annotations(
    ...     (100, 100), boxes=boxes, labels=np.array([1, 1]), scores=np.array([0.9, 0.8])
    ... )
    >>> report = detection_report([truth], [found], ["background", "cat", "dog"])
    >>> report.average_precision, report.best.recall, report.labels
    (0.5, 0.5, ('cat', 'dog'))
    """
    counts = count_detections(truth, predicted, classes, limit=limit)
    return report_of_detections(counts, threshold)


def report_of_detections(
    counts: DetectionCounts, threshold: float | None = None
) -> DetectionReport:
    """Make the report from detections that are counted already.

    Parameters
    ----------
    counts : DetectionCounts
        From `count_detections`.
    threshold : float, optional
        As in `detection_report`.

    Raises
    ------
    ValueError
        If there is no object that is to be found.
    """
    return report_of_objects(DetectionReport, counts, threshold)


ObjectReport = TypeVar("ObjectReport", bound=DetectionReport)


def report_of_objects(
    kind: type[ObjectReport], counts: DetectionCounts, threshold: float | None = None, **more: Any
) -> ObjectReport:
    """Make the report of a task that finds objects from detections that are counted already.

    Parameters
    ----------
    kind : type
        `DetectionReport`, or a subclass of it, whose task is that of the counts.
    counts, threshold
        As in `report_of_detections`.
    **more
        Further fields of the report.
    """
    is_asked = counts.counts[:, 0]
    if not is_asked.any():
        raise ValueError(
            f"there is no object to measure with in {len(counts):,} images: give at least one "
            "image with an object that isn't ignored"
        )
    values: dict[str, Any] = measured(counts)
    chosen = counts.best if threshold is None else counts.at(threshold)
    cells = counts.confusion(np.inf if chosen is None else chosen.threshold)
    # The background's row and column become the last ones.
    confusion = np.roll(cells, -1, axis=(0, 1))
    return kind(
        n=len(counts),
        n_empty=len(counts) - len(np.unique(counts.true_images[is_asked])),
        n_objects=int(is_asked.sum()),
        n_ignored=int((~is_asked).sum()),
        n_detections=len(counts.labels),
        limit=counts.limit,
        **{name: values.pop(name) for name in _METRICS},
        best=counts.best,
        chosen=chosen,
        classes=_rows(counts, cells),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        labels=counts.classes[1:],
        baseline=detection_baseline(counts),
        others=values,
        **more,
    )


def _rows(counts: DetectionCounts, cells: Array) -> tuple[ClassDetections, ...]:
    is_asked = counts.counts[:, 0]
    labels, images = counts.true_labels[is_asked], counts.true_images[is_asked]
    ranked = counts.ranked()
    precisions = counts.precisions["all"]
    objects, found = cells.sum(axis=1), cells.sum(axis=0)
    return tuple(
        ClassDetections(
            label=label,
            average_precision=_defined(mean_of_defined(precisions[:, c])),
            ap50=_defined(precisions[0, c]),
            ap75=_defined(precisions[5, c]),
            precision=float(cells[c, c] / found[c]) if found[c] else None,
            recall=float(cells[c, c] / objects[c]) if objects[c] else None,
            objects=int(objects[c]),
            detections=int(found[c]),
            images=len(np.unique(images[labels == c])),
            curve=ranked.curve(c),
        )
        for c, label in enumerate(counts.classes)
        if c > 0
    )


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
