"""`Metric` describes a metric, and `Predictions` holds the values that it is computed from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from transferkit.metrics._ranking import label_rankings

__all__ = [
    "ClassCounts",
    "Measurable",
    "Metric",
    "Predictions",
    "four_digits",
    "hundredths",
    "percent",
    "share",
    "thousandths",
]

Array = NDArray[Any]


# ---- how numbers are written --------------------------------------------------------


def percent(value: float, digits: int = 1) -> str:
    """Write a share in per cent."""
    return f"{100 * value:.{digits}f} %"


def share(value: float) -> str:
    """Write a share in per cent with two digits behind the point."""
    return percent(value, 2)


def hundredths(value: float) -> str:
    """Write a share in per cent without the sign, as the ends of an interval."""
    return f"{100 * value:.1f}"


def thousandths(value: float) -> str:
    """Write a number with three digits behind the point."""
    return f"{value:.3f}"


def four_digits(value: float) -> str:
    """Write a number with four significant digits, without an exponent if it is readable so."""
    if value != 0 and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.4g}"
    digits = max(0, 3 - int(np.floor(np.log10(abs(value))))) if value else 0
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


# ---- what is measured ---------------------------------------------------------------


class Measurable(Protocol):
    """Predictions beside the truth, in a form that the metrics of their task take.

    `Predictions` holds all of them; of a dense task, where one image has a million, there are
    counts that were taken image by image, such as `PixelCounts`.
    """

    @property
    def task(self) -> str:
        """What was predicted."""

    def __len__(self) -> int:
        """Number of samples."""


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Samples of each class.

    Parameters
    ----------
    hits : ndarray of shape (n_classes,)
        Samples that have the class and are predicted to have it.
    true, predicted : ndarray of shape (n_classes,)
        Samples that have it, and samples that are predicted to have it.
    """

    hits: Array
    true: Array
    predicted: Array

    @property
    def precision(self) -> Array:
        """Share of the predictions of a class that are right; 0 if it is never predicted."""
        return _ratio(self.hits, self.predicted)

    @property
    def recall(self) -> Array:
        """Share of the samples of a class that are predicted right; 0 if it has no samples."""
        return _ratio(self.hits, self.true)

    @property
    def f1(self) -> Array:
        """Harmonic mean of precision and recall; 0 if the class neither occurs nor is predicted."""
        return _ratio(2 * self.hits, self.true + self.predicted)


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions and true values, which are all that a metric is computed from.

    Parameters
    ----------
    task : {"classification", "multilabel", "regression"}
        What was predicted.
    y_true, y_pred : ndarray
        Classification: positions in `classes`, of shape (n_samples,). Several labels: 0 and 1,
        of shape (n_samples, n_labels). Regression: numbers, of shape (n_samples, n_targets).
    proba : ndarray or None
        Probabilities, a column for each class that the model knows or for each label; None if
        there are none.
    classes : tuple
        The classes that the model knows, then those that only the truth has; or the labels; or
        the targets' names.
    n_known : int
        How many of the classes the model knows.
    """

    task: str
    y_true: Array
    y_pred: Array
    proba: Array | None
    classes: tuple[Any, ...]
    n_known: int

    def __len__(self) -> int:
        return len(self.y_true)

    @cached_property
    def is_right(self) -> Array:
        """Whether each sample is predicted right, in all of its labels; of shape (n_samples,)."""
        same = self.y_true == self.y_pred
        right: Array = same if self.y_true.ndim == 1 else same.all(axis=1)
        return right

    @cached_property
    def counts(self) -> ClassCounts:
        """Samples of each class or label, true and predicted."""
        if self.y_true.ndim == 2:
            hits = (self.y_true & self.y_pred).sum(axis=0)
            return ClassCounts(hits, self.y_true.sum(axis=0), self.y_pred.sum(axis=0))
        n = len(self.classes)
        found = (self.y_true[self.is_right], self.y_true, self.y_pred)
        return ClassCounts(*(np.bincount(codes, minlength=n) for codes in found))

    @cached_property
    def rankings(self) -> dict[int, tuple[float, float, float]]:
        """Average precision, AUROC and prevalence by the label's position.

        Only labels that some samples have and some don't; none without probabilities.
        """
        return {} if self.proba is None else label_rankings(self.y_true, self.proba)

    @cached_property
    def errors(self) -> Array:
        """Prediction minus truth of a regression, of shape (n_samples, n_targets)."""
        return self.y_pred - self.y_true


@dataclass(frozen=True)
class Metric:
    """A number that measures how good predictions are.

    A file of this folder that holds one as ``METRIC`` is a metric: it is measured, printed and
    kept wherever its tasks are.

    Parameters
    ----------
    name : str
        Its name in Python and JSON: that of its file.
    title : str
        Its name in a report.
    tasks : tuple of str
        Which tasks it is for, such as ``classification`` or ``segmentation``.
    compute : callable
        From what the task is measured by, such as `Predictions`, to a number; None where it is
        undefined.
    higher_is_better : bool, default=True
        False for a loss or an error.
    format : callable, default=four_digits
        Number → text with its unit.
    short : str, default=title
        Its name in a line that tells of several metrics.
    card_title : str, default=title
        Its name in a model card.
    place : int, default=100
        Where it stands among the metrics of a task; the smallest is the first.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    compute: Callable[[Any], float | None]
    higher_is_better: bool = True
    format: Callable[[float], str] = four_digits
    short: str = ""
    card_title: str = ""
    place: int = 100

    def __post_init__(self) -> None:
        for name in ("short", "card_title"):
            object.__setattr__(self, name, getattr(self, name) or self.title)

    @property
    def is_share(self) -> bool:
        """Whether the metric is a share, written in per cent."""
        return self.format is share

    def of(self, found: Measurable) -> float | None:
        """Compute the metric of some predictions; None if it is undefined."""
        value = self.compute(found)
        return None if value is None or math.isnan(value) else float(value)

    def text(self, value: float | None) -> str:
        """Write a value of this metric, ``n/a`` for none."""
        return "n/a" if value is None else self.format(value)
