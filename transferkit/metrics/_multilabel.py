"""The report of a classification with several labels per image."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from transferkit.metrics._baseline import Baseline, Comparison, compare, from_draws, no_better
from transferkit.metrics._metric import Predictions, hundredths, percent, thousandths
from transferkit.metrics._ranking import ranking_draws
from transferkit.metrics._registry import measured
from transferkit.metrics._report import ReportTable, TaskReport
from transferkit.uncertainty import share_interval

__all__ = [
    "LabelRow",
    "MultilabelReport",
    "multilabel_baseline",
    "multilabel_report",
    "predicted_labels",
]

_METRICS = ("exact_match", "macro_f1", "mean_average_precision", "mean_auroc")


@dataclass(frozen=True)
class LabelRow:
    """One label of a report.

    Parameters
    ----------
    label : str
        The label.
    support : int
        Samples that truly have it.
    f1 : float
        0 where undefined.
    average_precision, auroc : float or None
        None without probabilities, or where no sample or every sample has the label.
    prevalence : float or None
        Share of the samples that have it: the average precision of a ranking by chance.
    is_better : bool or None
        Whether the AUROC is above 0.5 beyond what chance may give; None where it is undefined.
    """

    label: str
    support: int
    f1: float
    average_precision: float | None
    auroc: float | None
    prevalence: float | None = None
    is_better: bool | None = None


@dataclass(frozen=True)
class MultilabelReport(TaskReport):
    """The result of `multilabel_report`.

    Parameters
    ----------
    n : int
        Samples.
    exact_match : float
        Share of samples of which every label is right.
    macro_f1 : float
        Mean F1 over the labels.
    mean_average_precision, mean_auroc : float or None
        Means over the labels where they are defined; None if nowhere.
    labels : tuple of LabelRow
        One per label.
    baseline : Baseline or None
        The four numbers with their intervals, beside what is got without looking at an image:
        the labels' mean prevalence for mAP, 0.5 for AUROC, every label always for F1, the most
        frequent set of labels for the exact match. AUROC decides where it is defined, for mAP
        too, because chance gives it no advantage on few samples.
    others : mapping of str to (float or None)
        The metrics of `transferkit.metrics.of` that are none of these.
    """

    task: ClassVar[str] = "multilabel"
    n: int
    exact_match: float
    macro_f1: float
    mean_average_precision: float | None
    mean_auroc: float | None
    labels: tuple[LabelRow, ...]
    baseline: Baseline | None = None
    others: Mapping[str, float | None] = field(default_factory=dict, hash=False)

    def _numbers(self) -> str:
        interval = self._range("mean_average_precision", hundredths)
        return (
            f"mAP {_percent(self.mean_average_precision)}{interval}, "
            f"AUROC {_percent(self.mean_auroc)}, macro F1 {_percent(self.macro_f1)}"
        )

    def tables(self) -> list[ReportTable]:
        """Every label."""
        header = ("label", "images", "prevalence", "F1", "AP", "AUROC", "")
        rows = [
            (
                row.label,
                f"{row.support:,}",
                _thousandths(row.prevalence),
                thousandths(row.f1),
                _thousandths(row.average_precision),
                _thousandths(row.auroc),
                "no better than chance" if row.is_better is False else "",
            )
            for row in self.labels
        ]
        return [ReportTable(header, rows)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return super().to_dict() | {"labels": [dataclasses.asdict(row) for row in self.labels]}


def _percent(value: float | None) -> str:
    return "n/a" if value is None else percent(value)


def _thousandths(value: float | None) -> str:
    return "n/a" if value is None else thousandths(value)


def multilabel_report(
    y_true: ArrayLike, y_pred: ArrayLike, proba: ArrayLike | None, labels: Sequence[object]
) -> MultilabelReport:
    """Compare predicted indicator matrices with the true ones.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples, n_labels)
        0 and 1.
    proba : array-like of shape (n_samples, n_labels) or None
        Probability of each label; None if there are none.
    labels : sequence
        The labels, in the order of the columns.

    Returns
    -------
    MultilabelReport
        No warning is raised where a number is undefined.

    Raises
    ------
    ValueError
        If there are no samples or the shapes don't fit.

    Examples
    --------
    >>> report = multilabel_report([[1, 0], [0, 1]], [[1, 0], [1, 1]], None, ["a", "b"])
    >>> report.exact_match
    0.5
    """
    predictions = predicted_labels(y_true, y_pred, proba, labels)
    draws = _draws(predictions)
    values: dict[str, Any] = measured(predictions)
    return MultilabelReport(
        n=len(predictions),
        **{name: values.pop(name) for name in _METRICS},
        labels=_rows(predictions, draws),
        baseline=_baseline(predictions, draws),
        others=values,
    )


def predicted_labels(
    y_true: ArrayLike, y_pred: ArrayLike, proba: ArrayLike | None, labels: Sequence[object]
) -> Predictions:
    """Check predicted indicators beside the true ones; arguments are those of the report."""
    true, predicted = np.asarray(y_true, dtype=int), np.asarray(y_pred, dtype=int)
    if not len(true) or true.shape != predicted.shape or true.shape[1:] != (len(labels),):
        raise ValueError(
            f"y_true has shape {true.shape} and y_pred {predicted.shape}; give one row per sample, "
            f"at least one, and a column for each of {len(labels)} labels"
        )
    for what, values in (("y_true", true), ("y_pred", predicted)):
        if not ((values == 0) | (values == 1)).all():
            raise ValueError(f"{what} holds other values than 0 and 1; give an indicator matrix")
    scores = None if proba is None else np.asarray(proba, dtype=np.float64)
    names = tuple(map(str, labels))
    return Predictions("multilabel", true, predicted, scores, names, len(names))


def _draws(found: Predictions) -> np.ndarray:
    """Average precision, AUROC and prevalence of the labels in `rankings` over drawn rows.

    Of shape (n_draws, n_defined, 3).
    """
    defined = list(found.rankings)
    if found.proba is None or not defined:
        return np.empty((0, 0, 3))
    return ranking_draws(found.y_true[:, defined], found.proba[:, defined])


def multilabel_baseline(found: Predictions) -> Baseline:
    """Compare predicted labels with a baseline that doesn't look at any image.

    Parameters
    ----------
    found : Predictions
        Of several labels; what ranks the samples needn't be a probability.
    """
    return _baseline(found, _draws(found))


def _rows(found: Predictions, draws: np.ndarray) -> tuple[LabelRow, ...]:
    prevalence = found.y_true.mean(axis=0)
    rows = [
        LabelRow(label, int(support), float(f1), None, None, float(share))
        for label, support, f1, share in zip(
            found.classes, found.counts.true, found.counts.f1, prevalence, strict=True
        )
    ]
    for at, (j, (precision, auroc, _)) in enumerate(found.rankings.items()):
        is_better = _auroc(auroc, draws[:, at, 1], len(found)).is_better
        rows[j] = dataclasses.replace(
            rows[j], average_precision=precision, auroc=auroc, is_better=is_better
        )
    return tuple(rows)


def _auroc(value: float, draws: np.ndarray, n: int) -> Comparison:
    """Compare one label's AUROC with that of chance."""
    pairs = np.stack([draws, np.where(np.isnan(draws), np.nan, 0.5)], axis=1)
    return from_draws("auroc", (value, 0.5), pairs, n)


def _means(found: Predictions, draws: np.ndarray) -> list[Comparison]:
    """MAP and mean AUROC of each draw, over the labels that have both kinds of samples in it."""
    n, values = len(found), np.mean(list(found.rankings.values()), axis=0)
    means = np.nanmean(draws[~np.isnan(draws).all(axis=(1, 2))], axis=1)
    half = np.full(len(means), 0.5)
    auroc = from_draws("mean_auroc", (values[1], 0.5), np.stack([means[:, 1], half], axis=1), n)
    precision = from_draws("mean_average_precision", (values[0], values[2]), means[:, [0, 2]], n)
    # Rows drawn twice stand side by side in the ranking, which lifts average precision: of
    # rankings by chance a third would pass for better.
    return [dataclasses.replace(precision, is_better=auroc.is_better), auroc]


def _baseline(found: Predictions, draws: np.ndarray) -> Baseline:
    """Compare with the baselines, which don't look at any image."""
    n, true, predicted = len(found), found.y_true, found.y_pred
    sets, place, counts = np.unique(true, axis=0, return_inverse=True, return_counts=True)
    same = found.is_right
    said = place.ravel() == counts.argmax()

    def exact(rows: np.ndarray) -> tuple[float, float]:
        return same[rows].mean(), said[rows].mean()

    tables = np.concatenate([true, predicted, true & predicted], axis=1).astype(np.float64)

    def f1(rows: np.ndarray) -> tuple[float, float]:
        t, p, hits = np.split(np.bincount(rows, minlength=n) @ tables, 3)
        value, always = 2 * hits / np.maximum(t + p, 1), 2 * t / (t + n)
        return float(value.mean()), float(always.mean())

    plain = [
        compare("macro_f1", f1, n, width=true.shape[1]),
        compare("exact_match", exact, n, interval=share_interval(int(same.sum()), n)),
    ]
    means = _means(found, draws) if found.rankings else []
    compared = (*means, *plain)
    rule = "chance" if means else "always saying the same labels"
    if len(sets) == 1:
        one = "with the same labels, which can't show whether the model tells images apart"
        verdict = f"the only image is {one}" if n == 1 else f"all {n:,} images are {one}"
        return Baseline(rule, False, verdict, compared)
    if means:
        numbers = f"mAP {percent(means[0].baseline)}, AUROC 50 %"
        is_beaten, is_behind = means[1].is_better, means[1].value <= 0.5
    else:
        numbers = f"macro F1 {percent(plain[0].baseline)}, exact match {percent(plain[1].baseline)}"
        is_beaten = plain[0].is_better or plain[1].is_better
        is_behind = all(one.value <= one.baseline for one in plain)
    verdict = f"{rule} gets {numbers}"
    if not is_beaten:
        verdict = no_better(rule, numbers, is_behind=is_behind)
    return Baseline(rule, is_beaten, verdict, compared)
