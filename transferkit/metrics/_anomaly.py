"""The report of an anomaly detection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import Annotations
from transferkit.metrics._anomalies import AnomalyScores, gather_scores
from transferkit.metrics._baseline import Baseline, compare, no_better
from transferkit.metrics._metric import four_digits, percent, thousandths
from transferkit.metrics._ranking import weighted_ranking
from transferkit.metrics._registry import measured
from transferkit.metrics._report import ReportTable, TaskReport

__all__ = ["AnomalyReport", "anomaly_report", "report_of_scores"]

_METRICS = ("image_auroc", "pixel_auroc", "aupro", "anomaly_f1")


@dataclass(frozen=True)
class AnomalyReport(TaskReport):
    """The result of `anomaly_report`.

    Parameters
    ----------
    n, n_anomalous : int
        Images, and those of them that are strange.
    n_regions : int
        Connected regions of strange pixels.
    image_auroc : float or None
        None unless there are good and strange images.
    pixel_auroc, aupro : float or None
        None unless there are good and strange pixels; see the files of these names.
    anomaly_f1 : float or None
        None without a threshold or without strange images.
    threshold : float or None
        Images with a larger score are said to be strange.
    false_alarms, found : float or None
        Share of the good images, and of the strange ones, that are said to be strange.
    confusion : tuple of tuple of int, or None
        Images; row = good or strange, column = said to be good or strange.
    baseline : Baseline or None
        The image AUROC with its interval, beside that of the same score for all.
    others : mapping of str to (float or None)
        The metrics of `transferkit.metrics.of` that are none of these.
    """

    task: ClassVar[str] = "anomaly"
    n: int
    n_anomalous: int
    n_regions: int
    image_auroc: float | None
    pixel_auroc: float | None
    aupro: float | None
    anomaly_f1: float | None
    threshold: float | None = None
    false_alarms: float | None = None
    found: float | None = None
    confusion: tuple[tuple[int, int], tuple[int, int]] | None = None
    baseline: Baseline | None = None
    others: Mapping[str, float | None] = field(default_factory=dict, hash=False)

    def _numbers(self) -> str:
        if self.image_auroc is None:
            kind = "strange" if self.n_anomalous else "good"
            text = f"all {self.n:,} images are {kind}, so there is no AUROC"
        else:
            text = f"image AUROC {thousandths(self.image_auroc)}"
            text += self._range("image_auroc", thousandths)
        if self.aupro is not None and self.pixel_auroc is not None:
            text += f", pixel AUROC {thousandths(self.pixel_auroc)}"
            text += f", AUPRO {thousandths(self.aupro)}"
        return text

    def notes(self) -> list[tuple[str, str]]:
        """Pairs of name and text that stand below the metrics."""
        notes = super().notes()
        if self.threshold is None:
            return notes
        parts = []
        if self.found is not None:
            parts.append(f"{percent(self.found)} of the strange images are found")
        if self.false_alarms is not None:
            parts.append(f"{percent(self.false_alarms)} of the good ones are false alarms")
        return [*notes, (f"above {four_digits(self.threshold)}", ", ".join(parts))]

    def tables(self) -> list[ReportTable]:
        """How many good and strange images are said to be so, where there is a threshold."""
        if self.confusion is None:
            return []
        rows = [
            (kind, *(f"{count:,}" for count in counts))
            for kind, counts in zip(("good", "strange"), self.confusion, strict=True)
        ]
        header = ("true", "said to be good", "said to be strange")
        return [ReportTable(header, rows)]


def anomaly_report(
    truth: Iterable[Annotations | None],
    predicted: Iterable[Annotations],
    is_anomalous: Sequence[bool] | NDArray[Any] | None = None,
    threshold: float | None = None,
) -> AnomalyReport:
    """Compare scores of images and pixels with the truth.

    Parameters
    ----------
    truth, predicted, is_anomalous, threshold
        As for `gather_scores`. Images are gone through once, and only one is held at a time.

    Returns
    -------
    AnomalyReport
        No warning is raised where a number is undefined.

    Raises
    ------
    ValueError
        See `gather_scores`.

    Examples
    --------
    >>> truth = [Annotations((1, 2), map=np.array([row])) for row in ([0, 0], [0, 1])]
    >>> maps = [np.array([[0.1, 0.2]]), np.array([[0.1, 0.9]])]
    >>> found = [Annotations((1, 2), score=one.max(), score_map=one) for one in maps]
    >>> report = anomaly_report(truth, found, threshold=0.5)
    >>> report.image_auroc, report.pixel_auroc, report.anomaly_f1
    (1.0, 1.0, 1.0)
    """
    return report_of_scores(gather_scores(truth, predicted, is_anomalous, threshold))


def report_of_scores(scores: AnomalyScores) -> AnomalyReport:
    """Make the report from scores that are gathered already.

    Parameters
    ----------
    scores : AnomalyScores
        From `gather_scores`.
    """
    values: dict[str, Any] = measured(scores)
    said: dict[str, Any] = {}
    if scores.is_flagged is not None:
        counts = np.zeros((2, 2), dtype=int)
        np.add.at(counts, (scores.is_anomalous.astype(int), scores.is_flagged.astype(int)), 1)
        shares = [int(row[1]) / int(row.sum()) if row.sum() else None for row in counts]
        said = {"false_alarms": shares[0], "found": shares[1]}
        said["confusion"] = tuple(tuple(row) for row in counts.tolist())
    return AnomalyReport(
        n=len(scores),
        n_anomalous=int(scores.is_anomalous.sum()),
        n_regions=scores.n_regions,
        **{name: values.pop(name) for name in _METRICS},
        threshold=scores.threshold,
        **said,
        baseline=_baseline(scores),
        others=values,
    )


def _baseline(scores: AnomalyScores) -> Baseline | None:
    """Compare with the same score for all images."""
    if scores.is_anomalous.all() or not scores.is_anomalous.any():
        return None
    ranking = weighted_ranking(scores.is_anomalous.astype(int), scores.images)
    n = len(scores)

    def auroc(rows: NDArray[Any]) -> tuple[float, float]:
        return ranking(np.bincount(rows, minlength=n).astype(float))[1], 0.5

    found = compare("image_auroc", auroc, n)
    rule = "the same score for all images"
    numbers = "image AUROC 0.5"
    verdict = f"{rule} gets {numbers}"
    if not found.is_better:
        verdict = no_better(rule, numbers, is_behind=found.value <= 0.5)
    return Baseline(rule, found.is_better, verdict, (found,))
