"""The report of a classification."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transferkit.metrics._baseline import Baseline, compare, no_better
from transferkit.metrics._confusions import confusion_table
from transferkit.metrics._metric import Predictions, hundredths, percent
from transferkit.metrics._registry import measured
from transferkit.metrics._report import ReportTable, TaskReport
from transferkit.uncertainty import share_interval

__all__ = ["ClassRow", "Report", "classification_report", "predicted_classes"]

_METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "calibration_error")


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
class Report(TaskReport):
    """The result of `classification_report`.

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
    others : mapping of str to (float or None)
        The metrics of `transferkit.metrics.of` that are none of these.
    """

    task: ClassVar[str] = "classification"
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
    others: Mapping[str, float | None] = field(default_factory=dict, hash=False)

    def _numbers(self) -> str:
        return (
            f"{percent(self.accuracy)} accuracy{self._range('accuracy', hundredths)}, "
            f"{percent(self.balanced_accuracy)} balanced"
        )

    def notes(self) -> list[tuple[str, str]]:
        """Pairs of name and text that stand below the metrics."""
        if not self.n_unknown:
            return super().notes()
        images = f"{self.n_unknown:,} image{'s' * (self.n_unknown != 1)}"
        unknown = ("unknown labels", f"{images} of classes the model never saw (errors)")
        return [*super().notes(), unknown]

    def tables(self) -> list[ReportTable]:
        """Tables of the classes and of the confusions; with many classes, of the commonest ones."""
        classes = [
            (str(c.label), f"{c.precision:.3f}", f"{c.recall:.3f}", f"{c.f1:.3f}", f"{c.support:,}")
            for c in self.classes
        ]
        header = ("class", "precision", "recall", "F1", "images")
        confusions = confusion_table(self.confusion, self.labels, self.labels, unit="images")
        return [ReportTable(header, classes), confusions]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        values = super().to_dict()
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
    predictions = predicted_classes(y_true, y_pred, proba, classes)
    counts, labels = predictions.counts, predictions.classes
    table = (counts.precision, counts.recall, counts.f1, counts.true)
    cells = predictions.y_true * len(labels) + predictions.y_pred
    confusion = np.bincount(cells, minlength=len(labels) ** 2).reshape(len(labels), -1)
    values: dict[str, Any] = measured(predictions)
    return Report(
        n=len(predictions),
        n_unknown=int((predictions.y_true >= predictions.n_known).sum()),
        **{name: values.pop(name) for name in _METRICS},
        classes=tuple(
            ClassRow(label, float(precision), float(recall), float(f1), int(support))
            for label, precision, recall, f1, support in zip(labels, *table, strict=True)
        ),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        labels=labels,
        baseline=_baseline(predictions),
        others=values,
    )


def predicted_classes(
    y_true: ArrayLike, y_pred: ArrayLike, proba: ArrayLike | None, classes: ArrayLike
) -> Predictions:
    """Check predicted labels beside the true ones; arguments are those of the report."""
    true, predicted, known = _plain(y_true), _plain(y_pred), _plain(classes)
    if not true or len(true) != len(predicted):
        raise ValueError(
            f"y_true has {len(true)} labels and y_pred {len(predicted)}; "
            "give one of each per sample, and at least one sample"
        )
    new = set(true) | set(predicted)
    labels = known + sorted(new.difference(known), key=lambda label: (str(type(label)), label))
    codes = {label: i for i, label in enumerate(labels)}
    probabilities = None if proba is None else np.asarray(proba)
    if probabilities is not None and probabilities.shape != (len(true), len(known)):
        raise ValueError(
            f"proba has shape {probabilities.shape}; "
            f"give one row per sample and one column per class, {(len(true), len(known))}"
        )
    return Predictions(
        "classification",
        np.array([codes[label] for label in true]),
        np.array([codes[label] for label in predicted]),
        probabilities,
        tuple(labels),
        len(known),
    )


def _baseline(found: Predictions) -> Baseline:
    """Compare with always predicting the most frequent label."""
    true, labels, n_known = found.y_true, found.classes, found.n_known
    counts = found.counts.true
    most = int(counts[:n_known].argmax() if counts[:n_known].any() else counts.argmax())
    right, said, n = found.is_right, true == most, len(true)

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
    """Convert labels to Python's own values, of which equal ones hash alike and JSON takes all."""
    values: list[Any] = np.asarray(labels).ravel().tolist()
    return values
