"""The report of a classification, and how far its probabilities can be believed."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from transferkit.metrics.baseline import Baseline, compare, no_better, percent
from transferkit.metrics.uncertainty import share_interval

__all__ = ["ClassRow", "Report", "calibration_error", "classification_report"]


@dataclass(frozen=True)
class ClassRow:
    """One class of a report.

    Parameters
    ----------
    label : str, int, float or bool
        The class as it was written.
    precision, recall, f1 : float
        0 where undefined.
    support : int
        Samples that truly have this label.
    """

    label: Any
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Report:
    """What `classification_report` finds.

    Parameters
    ----------
    n : int
        Samples.
    n_unknown : int
        Samples whose true label the model never saw; each is an error.
    accuracy : float
        Share of right predictions.
    balanced_accuracy : float
        Mean recall over the labels that occur among the true ones.
    macro_f1 : float
        Mean F1 over the labels that occur among the true or the predicted ones.
    log_loss : float or None
        Mean of -log of the true label's probability, over the samples whose true label
        the model knows (any other would make it infinite); None without probabilities
        or without such samples.
    calibration_error : float or None
        See `calibration_error`; None without probabilities.
    classes : tuple of ClassRow
        The model's classes in its order, then the labels that it never saw.
    confusion : tuple of tuple of int
        Counts; row = true label, column = predicted label, both as in `labels`.
    labels : tuple
        Labels of `confusion`'s rows and columns, in the order of `classes`.
    baseline : Baseline or None
        Accuracy and balanced accuracy with their intervals, beside what is got by always
        saying the most frequent true label of these samples (among those that the model
        knows).
    """

    n: int
    n_unknown: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    log_loss: float | None
    calibration_error: float | None
    classes: tuple[ClassRow, ...]
    confusion: tuple[tuple[int, ...], ...]
    labels: tuple[Any, ...]
    baseline: Baseline | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        values = dataclasses.asdict(self)
        values["classes"] = list(values["classes"])
        values["confusion"] = [list(row) for row in self.confusion]
        values["labels"] = list(self.labels)
        return values


def classification_report(
    y_true: ArrayLike, y_pred: ArrayLike, proba: ArrayLike | None, classes: ArrayLike
) -> Report:
    """Compare predicted labels with the true ones.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_pred : array-like of shape (n_samples,)
        Predicted labels.
    proba : array-like of shape (n_samples, n_classes) or None
        Probabilities, columns in the order of `classes`; None if there are none.
    classes : array-like of shape (n_classes,)
        The labels that the model knows.

    Returns
    -------
    Report
        Numbers and tables; no warning is raised where one is undefined.

    Raises
    ------
    ValueError
        If there are no samples or the shapes don't fit.

    Examples
    --------
    >>> report = classification_report(["a", "b", "b"], ["a", "b", "a"], None, ["a", "b"])
    >>> report.accuracy, report.confusion
    (0.6666666666666666, ((1, 0), (1, 1)))
    """
    true, predicted, known = _plain(y_true), _plain(y_pred), _plain(classes)
    if not true or len(true) != len(predicted):
        raise ValueError(
            f"y_true has {len(true)} labels and y_pred {len(predicted)}; "
            "give one of each per sample, and at least one sample"
        )
    new = set(true) | set(predicted)
    labels = known + sorted(new.difference(known), key=lambda label: (str(type(label)), label))
    number = {label: i for i, label in enumerate(labels)}
    t = np.array([number[label] for label in true])
    p = np.array([number[label] for label in predicted])
    every = np.arange(len(labels))
    table = precision_recall_fscore_support(t, p, labels=every, zero_division=0)
    recall, support = table[1], table[3]
    return Report(
        n=len(t),
        n_unknown=int((t >= len(known)).sum()),
        accuracy=float((t == p).mean()),
        balanced_accuracy=float(recall[support > 0].mean()),
        macro_f1=float(f1_score(t, p, average="macro", zero_division=0)),
        log_loss=None if proba is None else _log_loss(t, proba, len(known)),
        calibration_error=None if proba is None else calibration_error(t == p, proba),
        classes=tuple(
            ClassRow(label, float(precision), float(recall), float(f1), int(support))
            for label, precision, recall, f1, support in zip(labels, *table, strict=True)
        ),
        confusion=tuple(
            tuple(row) for row in confusion_matrix(t, p, labels=every).astype(int).tolist()
        ),
        labels=tuple(labels),
        baseline=_baseline(t, p, labels, len(known)),
    )


def calibration_error(is_right: ArrayLike, proba: ArrayLike, n_bins: int = 15) -> float:
    """Expected calibration error (ECE): how far confidence is from accuracy.

    Parameters
    ----------
    is_right : array-like of bool, shape (n_samples,)
        Whether each prediction is right.
    proba : array-like of shape (n_samples, n_classes)
        Probabilities; the largest of a row is the prediction's confidence.
    n_bins : int, default=15
        Bins of equal width in confidence.

    Returns
    -------
    float
        In [0, 1]; 0 is perfectly calibrated.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger (2017), "On calibration of modern neural networks",
    equation 3.

    Examples
    --------
    >>> calibration_error([True, False], [[0.75, 0.25], [0.25, 0.75]])
    0.25
    """
    right = np.asarray(is_right, dtype=np.float64)
    confidence = np.asarray(proba, dtype=np.float64).max(axis=1)
    # Bins are closed above: (0, 1/n], (1/n, 2/n], …
    bins = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(right))


def _baseline(
    true: NDArray[np.int64], predicted: NDArray[np.int64], labels: list[Any], n_known: int
) -> Baseline:
    """Compare with always saying the most frequent label."""
    counts = np.bincount(true, minlength=len(labels))
    most = int(counts[:n_known].argmax() if counts[:n_known].any() else counts.argmax())
    right, said, n = true == predicted, true == most, len(true)

    def accuracy(rows: NDArray[Any]) -> tuple[float, float]:
        return right[rows].mean(), said[rows].mean()

    def balanced(rows: NDArray[Any]) -> tuple[float, float]:
        drawn = np.bincount(true[rows], minlength=len(labels))
        hits = np.bincount(true[rows], weights=right[rows], minlength=len(labels))
        there = drawn > 0
        return (hits[there] / drawn[there]).mean(), float(there[most]) / there.sum()

    plain = compare("accuracy", accuracy, n, interval=share_interval(int(right.sum()), n))
    fair = compare("balanced_accuracy", balanced, n)
    rule = f"always saying {labels[most]!r}"
    if counts[most] == n:
        one = f"of class {labels[most]!r}, which can't show whether the model tells classes apart"
        verdict = f"the only image is {one}" if n == 1 else f"all {n:,} images are {one}"
    elif plain.is_better:
        verdict = f"{rule} gets {percent(plain.baseline)}"
    elif fair.is_better:
        verdict = (
            f"{rule} gets {percent(plain.baseline)}, as far as these images can tell no less, "
            f"but {percent(fair.baseline)} balanced"
        )
    else:
        is_behind = plain.value <= plain.baseline
        verdict = no_better(rule, percent(plain.baseline), is_behind=is_behind)
    is_beaten = (plain.is_better or fair.is_better) and counts[most] < n
    return Baseline(rule, bool(is_beaten), verdict, (plain, fair))


def _plain(labels: ArrayLike) -> list[Any]:
    """Labels as Python's own values: equal ones hash alike, and JSON takes them."""
    values: list[Any] = np.asarray(labels).ravel().tolist()
    return values


def _log_loss(true: NDArray[np.int64], proba: ArrayLike, n_known: int) -> float | None:
    proba = np.asarray(proba)
    if proba.shape != (len(true), n_known):
        raise ValueError(
            f"proba has shape {proba.shape}; "
            f"give one row per sample and one column per class, {(len(true), n_known)}"
        )
    rows = np.flatnonzero(true < n_known)
    if not len(rows):
        return None
    # Probabilities of exactly 0 count as the smallest step of their type, as in scikit-learn.
    smallest = np.finfo(proba.dtype).eps if proba.dtype.kind == "f" else 1e-15
    return float(-np.log(np.maximum(proba[rows, true[rows]], smallest)).mean(dtype=np.float64))
