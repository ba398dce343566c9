"""The report of a segmentation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import Annotations
from transferkit.metrics._baseline import Baseline, Comparison, compare, no_better
from transferkit.metrics._boundaries import TOLERANCE
from transferkit.metrics._confusions import confusion_table
from transferkit.metrics._metric import hundredths, percent
from transferkit.metrics._pixels import (
    PixelCounts,
    count_pixels,
    dice_of,
    iou_of,
    mean_of_defined,
)
from transferkit.metrics._registry import measured
from transferkit.metrics._report import ReportTable, TaskReport

__all__ = ["ClassPixels", "SegmentationReport", "report_of_pixels", "segmentation_report"]

Array = NDArray[Any]

_METRICS = ("mean_iou", "mean_dice", "pixel_accuracy", "boundary_f")
NOWHERE = "none of these"
"""What a prediction is called that is void, or a number that no class has."""


@dataclass(frozen=True)
class ClassPixels:
    """One class of a segmentation's report; numbers are None where they are undefined.

    Parameters
    ----------
    label : str
        The class.
    iou, dice : float or None
        None if the class is in neither the truth nor a prediction.
    precision : float or None
        None if it is never predicted.
    recall : float or None
        None if it has no pixels.
    boundary_f : float or None
        None if it has no boundary in the truth or a prediction.
    share : float
        Share of the pixels of known class that are truly of it.
    images : int
        Images that truly have it.
    """

    label: str
    iou: float | None
    dice: float | None
    precision: float | None
    recall: float | None
    boundary_f: float | None
    share: float
    images: int


@dataclass(frozen=True)
class SegmentationReport(TaskReport):
    """The result of `segmentation_report`.

    Parameters
    ----------
    n : int
        Images.
    n_void : int
        Images of which no pixel has a known class.
    n_pixels : int
        Pixels of known class, of all images.
    mean_iou, mean_dice : float
        Means over the classes that are in the truth or a prediction, from all images' pixels.
    pixel_accuracy : float
        Share of the pixels of known class that are predicted right.
    boundary_f : float or None
        See `transferkit.metrics.boundary_f`; None if no class has a boundary.
    classes : tuple of ClassPixels
        One per class.
    confusion : tuple of tuple of int
        Pixels; row = true class, column = predicted class, then one for predictions of none.
    labels : tuple of str
        Classes of the rows.
    baseline : Baseline or None
        The numbers with their intervals, from a bootstrap over the images, beside those of the
        most frequent class everywhere.
    others : mapping of str to (float or None)
        The metrics of `transferkit.metrics.of` that are none of these.
    """

    task: ClassVar[str] = "segmentation"
    n: int
    n_void: int
    n_pixels: int
    mean_iou: float
    mean_dice: float
    pixel_accuracy: float
    boundary_f: float | None
    classes: tuple[ClassPixels, ...]
    confusion: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...]
    baseline: Baseline | None = None
    others: Mapping[str, float | None] = field(default_factory=dict, hash=False)

    def _numbers(self) -> str:
        return (
            f"{percent(self.mean_iou)} mIoU{self._range('mean_iou', hundredths)}, "
            f"{percent(self.pixel_accuracy)} of the pixels right"
        )

    def notes(self) -> list[tuple[str, str]]:
        """Pairs of name and text that stand below the metrics."""
        notes = super().notes()
        absent = [row.label for row in self.classes if row.iou is None]
        if absent:
            some = ", ".join(absent[:5]) + " …" * (len(absent) > 5)
            notes.append(("left out", f"{some}: in neither the truth nor a prediction"))
        if self.n_void:
            notes.append(("all void", f"{self.n_void:,} of the images, which measure nothing"))
        within = f"within {percent(TOLERANCE, 2)} of the diagonal, at least 1 px"
        return [*notes, ("boundary F", within)] if self.boundary_f is not None else notes

    def tables(self) -> list[ReportTable]:
        """Tables of the classes and of the confusions; with many classes, of the largest ones."""
        header = ("class", "IoU", "Dice", "precision", "recall", "boundary F", "pixels", "images")
        rows = [
            (
                row.label,
                *map(_written, (row.iou, row.dice, row.precision, row.recall, row.boundary_f)),
                percent(row.share),
                f"{row.images:,}",
            )
            for row in self.classes
        ]
        columns = (*self.labels, NOWHERE) if any(row[-1] for row in self.confusion) else self.labels
        cells = np.array(self.confusion)[:, : len(columns)]
        confusions = confusion_table(cells, self.labels, columns, unit="pixels", written=_counted)
        return [ReportTable(header, rows), confusions]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return super().to_dict() | {
            "classes": [dataclasses.asdict(row) for row in self.classes],
            "confusion": [list(row) for row in self.confusion],
            "labels": list(self.labels),
        }


def _written(value: float | None) -> str:
    return "-" if value is None else hundredths(value)


def _counted(number: float) -> str:
    return f"{number:,}"


def segmentation_report(
    truth: Iterable[Annotations], predicted: Iterable[Annotations], classes: Sequence[str]
) -> SegmentationReport:
    """Compare predicted maps of classes with the true ones.

    Parameters
    ----------
    truth, predicted : iterable of Annotations
        With maps of one size, px; one of each per image. They are gone through once, and only
        one image of each is held at a time. True pixels that are void count nowhere; a
        prediction that is void there where the truth isn't, or no class, is an error.
    classes : sequence of str
        Names of the classes, by number.

    Returns
    -------
    SegmentationReport
        Numbers and tables; no warning is raised where one is undefined.

    Raises
    ------
    ValueError
        If there are no images, or not one pixel of a known class; if one side has more images
        than the other, a map is missing or of another size, or a true class has no name.

    Examples
    --------
    >>> import numpy as np
    >>> truth = Annotations((2, 2), map=np.array([[0, 0], [1, -1]]))
    >>> found = Annotations((2, 2), map=np.array([[0, 1], [1, 1]]))
    >>> report = segmentation_report([truth], [found], ["sky", "sea"])
    >>> report.mean_iou, report.confusion
    (0.5, ((1, 1, 0), (0, 1, 0)))
    """
    return report_of_pixels(count_pixels(truth, predicted, classes))


def report_of_pixels(counts: PixelCounts) -> SegmentationReport:
    """Make the report from pixels that are counted already.

    Parameters
    ----------
    counts : PixelCounts
        From `count_pixels`.
    """
    values: dict[str, Any] = measured(counts)
    known = counts.true.sum(axis=1)
    return SegmentationReport(
        n=len(counts),
        n_void=int((known == 0).sum()),
        n_pixels=int(known.sum()),
        **{name: values.pop(name) for name in _METRICS},
        classes=_rows(counts),
        confusion=tuple(tuple(row) for row in counts.confusion.tolist()),
        labels=counts.classes,
        baseline=_baseline(counts),
        others=values,
    )


def _rows(counts: PixelCounts) -> tuple[ClassPixels, ...]:
    pixels, images = counts.true.sum(axis=0), (counts.true > 0).sum(axis=0)
    return tuple(
        ClassPixels(
            label=label,
            iou=_defined(counts.iou[c]),
            dice=_defined(counts.dice[c]),
            precision=_defined(counts.precision[c]),
            recall=_defined(counts.recall[c]),
            boundary_f=_defined(counts.boundary_f[c]),
            share=float(pixels[c] / pixels.sum()),
            images=int(images[c]),
        )
        for c, label in enumerate(counts.classes)
    )


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _baseline(counts: PixelCounts) -> Baseline:
    """Compare with the most frequent true class at every pixel."""
    most = int(counts.true.sum(axis=0).argmax())
    n_known = counts.true.sum(axis=1)
    said = np.zeros((3, *counts.true.shape))
    said[0, :, most], said[1], said[2, :, most] = counts.true[:, most], counts.true, n_known
    found = np.stack([counts.hits, counts.true, counts.predicted])
    # One product for both sides, in which a row counts as often as it is drawn.
    table = np.stack([found, said], axis=1).swapaxes(0, 2).reshape(len(counts), -1).astype(float)
    shape = (2, 3, len(counts.classes))

    def totals(rows: Array) -> Array:
        drawn: Array = np.bincount(rows, minlength=len(table)) @ table
        return drawn.reshape(shape)

    def mean(of: Any) -> Any:
        return lambda rows: tuple(mean_of_defined(of(*side)) for side in totals(rows))

    def accuracy(rows: Array) -> tuple[float, float]:
        (right, true, _), (constant, _, _) = totals(rows).sum(axis=2)
        return (right / true, constant / true) if true else (math.nan, math.nan)

    n, width = len(counts), table.shape[1]
    plain = compare("mean_iou", mean(iou_of), n, width=width)
    others = (
        compare("mean_dice", mean(dice_of), n, width=width),
        compare("pixel_accuracy", accuracy, n, width=width),
    )
    rule = f"{counts.classes[most]!r} everywhere"
    is_one = int((counts.true.sum(axis=0) > 0).sum()) == 1
    is_beaten = plain.is_better and not is_one
    return Baseline(rule, is_beaten, _verdict(rule, plain, is_one), (plain, *others))


def _verdict(rule: str, plain: Comparison, is_one: bool) -> str:
    if is_one:
        name = rule.removesuffix(" everywhere")
        return f"all known pixels are of {name}, which can't show whether classes are told apart"
    numbers = f"{percent(plain.baseline)} mIoU"
    if plain.is_better:
        return f"{rule} gets {numbers}"
    return no_better(rule, numbers, is_behind=plain.value <= plain.baseline)
