"""The report of a classification with several labels per image."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from transferkit.metrics.baseline import (
    Baseline,
    Comparison,
    compare,
    from_draws,
    no_better,
    percent,
)
from transferkit.metrics.ranking import ranking_draws
from transferkit.metrics.uncertainty import share_interval

__all__ = ["LabelRow", "MultilabelReport", "multilabel_report"]


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
class MultilabelReport:
    """What `multilabel_report` finds.

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
    """

    n: int
    exact_match: float
    macro_f1: float
    mean_average_precision: float | None
    mean_auroc: float | None
    labels: tuple[LabelRow, ...]
    baseline: Baseline | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self) | {"labels": [dataclasses.asdict(r) for r in self.labels]}


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
    true, predicted = np.asarray(y_true, dtype=int), np.asarray(y_pred, dtype=int)
    if not len(true) or true.shape != predicted.shape or true.shape[1:] != (len(labels),):
        raise ValueError(
            f"y_true has shape {true.shape} and y_pred {predicted.shape}; give one row per sample, "
            f"at least one, and a column for each of {len(labels)} labels"
        )
    scores = None if proba is None else np.asarray(proba, dtype=np.float64)
    ranked = None if scores is None else _rankings(true, scores)
    rows = tuple(
        _row(str(label), true[:, i], predicted[:, i], i, ranked) for i, label in enumerate(labels)
    )
    return MultilabelReport(
        n=len(true),
        exact_match=float((true == predicted).all(axis=1).mean()),
        macro_f1=float(np.mean([row.f1 for row in rows])),
        mean_average_precision=_mean([row.average_precision for row in rows]),
        mean_auroc=_mean([row.auroc for row in rows]),
        labels=rows,
        baseline=_baseline(true, predicted, ranked),
    )


def _row(
    label: str, true: np.ndarray, predicted: np.ndarray, i: int, ranked: "_Rankings | None"
) -> LabelRow:
    precision = auroc = is_better = None
    if ranked is not None and i in ranked.found:
        precision, auroc, _ = ranked.found[i]
        is_better = _auroc(ranked, list(ranked.found).index(i), len(true)).is_better
    return LabelRow(
        label=label,
        support=int(true.sum()),
        f1=float(f1_score(true, predicted, zero_division=0)),
        average_precision=precision,
        auroc=auroc,
        prevalence=float(true.mean()),
        is_better=is_better,
    )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


@dataclass(frozen=True, eq=False)
class _Rankings:
    """Rankings by the labels that some samples have and some don't.

    Parameters
    ----------
    found : dict of int to (float, float, float)
        Label's position → average precision, AUROC, prevalence.
    draws : ndarray of shape (n_draws, n_defined, 3)
        The same over rows drawn with replacement.
    """

    found: dict[int, tuple[float, float, float]]
    draws: np.ndarray


def _rankings(true: np.ndarray, scores: np.ndarray) -> _Rankings:
    share = true.mean(axis=0)
    defined = np.flatnonzero((share > 0) & (share < 1))
    found = {
        int(j): (
            float(average_precision_score(true[:, j], scores[:, j])),
            float(roc_auc_score(true[:, j], scores[:, j])),
            float(share[j]),
        )
        for j in defined
    }
    return _Rankings(found, ranking_draws(true[:, defined], scores[:, defined]))


def _auroc(ranked: _Rankings, at: int, n: int) -> Comparison:
    """One label's AUROC beside that of chance; `at` counts the labels that have one."""
    draws = ranked.draws[:, at, 1]
    value = list(ranked.found.values())[at][1]
    pairs = np.stack([draws, np.where(np.isnan(draws), np.nan, 0.5)], axis=1)
    return from_draws("auroc", (value, 0.5), pairs, n)


def _means(ranked: _Rankings, n: int) -> list[Comparison]:
    """MAP and mean AUROC; of a draw those labels count that have both kinds of samples in it."""
    values = np.mean(list(ranked.found.values()), axis=0)
    draws = ranked.draws[~np.isnan(ranked.draws).all(axis=(1, 2))]
    means = np.nanmean(draws, axis=1)
    half = np.full(len(means), 0.5)
    auroc = from_draws("mean_auroc", (values[1], 0.5), np.stack([means[:, 1], half], axis=1), n)
    precision = from_draws("mean_average_precision", (values[0], values[2]), means[:, [0, 2]], n)
    # Rows drawn twice stand side by side in the ranking, which lifts average precision: of
    # rankings by chance a third would pass for better.
    return [dataclasses.replace(precision, is_better=auroc.is_better), auroc]


def _baseline(true: np.ndarray, predicted: np.ndarray, ranked: _Rankings | None) -> Baseline:
    """Compare with what is got without looking at an image."""
    n = len(true)
    sets, place, counts = np.unique(true, axis=0, return_inverse=True, return_counts=True)
    same = (true == predicted).all(axis=1)
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
    means = [] if ranked is None or not ranked.found else _means(ranked, n)
    found = (*means, *plain)
    rule = "chance" if means else "always saying the same labels"
    if len(sets) == 1:
        one = "with the same labels, which can't show whether the model tells images apart"
        verdict = f"the only image is {one}" if n == 1 else f"all {n:,} images are {one}"
        return Baseline(rule, False, verdict, found)
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
    return Baseline(rule, is_beaten, verdict, found)
