"""The report of a classification with several labels per image."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

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
    """

    label: str
    support: int
    f1: float
    average_precision: float | None
    auroc: float | None


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
    """

    n: int
    exact_match: float
    macro_f1: float
    mean_average_precision: float | None
    mean_auroc: float | None
    labels: tuple[LabelRow, ...]

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
    rows = tuple(
        _row(str(label), true[:, i], predicted[:, i], None if scores is None else scores[:, i])
        for i, label in enumerate(labels)
    )
    return MultilabelReport(
        n=len(true),
        exact_match=float((true == predicted).all(axis=1).mean()),
        macro_f1=float(np.mean([row.f1 for row in rows])),
        mean_average_precision=_mean([row.average_precision for row in rows]),
        mean_auroc=_mean([row.auroc for row in rows]),
        labels=rows,
    )


def _row(label: str, true: np.ndarray, predicted: np.ndarray, score: Any) -> LabelRow:
    is_defined = score is not None and 0 < true.sum() < len(true)
    return LabelRow(
        label=label,
        support=int(true.sum()),
        f1=float(f1_score(true, predicted, zero_division=0)),
        average_precision=float(average_precision_score(true, score)) if is_defined else None,
        auroc=float(roc_auc_score(true, score)) if is_defined else None,
    )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
