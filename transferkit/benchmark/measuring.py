"""Measure predictions on the test part: metrics, interval and baseline of a row.

Names and definitions of a row's first metrics stay what they were, so that results of different
versions can stand in one table; every other metric of `transferkit.metrics` follows them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from transferkit.benchmark.temperature import temperature_of
from transferkit.metrics import (
    Predictions,
    calibration_error,
    mean_average_precision_11,
    measured,
    multilabel_baseline,
)
from transferkit.protocols import Probe
from transferkit.uncertainty import bootstrap_interval, mcnemar

__all__ = ["measure"]

Array = NDArray[Any]
Measured = tuple[dict[str, Any], Array]
LEVEL = 0.05
"""Of the test whether a cell is better than its baseline."""


def measure(kind: str, probe: Probe, scores: Array, y: Array) -> Measured:
    """Measure the scores of a probe on the test rows.

    Parameters
    ----------
    kind : {"classification", "multilabel", "regression"}
        Whose metrics measure it: the task's `report`.
    probe : Probe
        Whether the scores are logits of probabilities, and held-out scores to scale them by.
    scores : ndarray
        Of the test rows: a column for each class, log-odds for each label, or numbers.
    y : ndarray
        Class numbers, 0 and 1, or numbers.

    Returns
    -------
    metrics : dict
        Values by name; ``main`` names the one that a leaderboard sorts by.
    values : ndarray of shape (n_test,)
        Share of right labels, or the negative squared error, of each test row.
    """
    return _MEASURES[kind](probe, scores, y)


def _classes(probe: Probe, scores: Array, y: Array) -> Measured:
    proba = softmax(scores, axis=1) if probe.has_probabilities else None
    n_classes = max(scores.shape[1], int(y.max()) + 1)
    predictions = Predictions(
        "classification",
        y,
        scores.argmax(axis=1),
        proba,
        tuple(range(n_classes)),
        scores.shape[1],
    )
    values = measured(predictions, leave_out={"log_loss"})
    right = predictions.is_right.astype(np.float64)
    said = y == predictions.counts.true.argmax()  # always the most frequent class
    metrics: dict[str, Any] = {
        **{name: values.pop(name) for name in ("accuracy", "balanced_accuracy", "macro_f1")},
        "main": "accuracy",
        "interval": list(bootstrap_interval(lambda at: float(right[at].mean()), len(y))),
        "baseline": float(said.mean()),
        "is_better": bool(right.sum() > said.sum() and mcnemar(right, said) < LEVEL),
    }
    if scores.shape[1] == 2 and np.count_nonzero(predictions.counts.true) == 2:
        metrics["auroc"] = _auroc(y, scores)
    error = values.pop("calibration_error")
    if error is not None:
        metrics["ece"] = error
        if probe.held is not None:
            temperature = temperature_of(*probe.held)
            metrics["temperature"] = temperature
            metrics["ece_scaled"] = calibration_error(right, softmax(scores / temperature, axis=1))
    return metrics | values, right


def _auroc(y: Array, scores: Array) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, scores[:, 1] - scores[:, 0]))


def _labels(probe: Probe, scores: Array, y: Array) -> Measured:
    predicted, labels = (scores > 0).astype(int), tuple(map(str, range(y.shape[1])))
    right = (predicted == y).mean(axis=1)

    def precision(at: Array) -> float:
        return mean_average_precision_11(y[at], scores[at])

    true = y.astype(int)
    # The comparison with the baseline uses AUROC and not mAP; see `MultilabelReport.baseline`.
    ranked = Predictions("multilabel", true, predicted, scores.astype(float), labels, len(labels))
    worth = multilabel_baseline(ranked).of("mean_average_precision")
    proba = expit(ranked.proba) if probe.has_probabilities else None
    predictions = Predictions("multilabel", true, predicted, proba, labels, len(labels))
    metrics = {
        "map": precision(np.arange(len(y))),
        "label_accuracy": float(right.mean()),
        "main": "map",
        "interval": list(bootstrap_interval(precision, len(y), n_draws=500)),
        # Where every image has the same labels, every ranking is perfect.
        "baseline": 1.0 if worth is None else worth.baseline,
        "is_better": worth is not None and worth.is_better,
    }
    left_out = {"mean_average_precision", "mean_auroc", "macro_f1", "exact_match"}
    return metrics | measured(predictions, leave_out=left_out), right


def _numbers(probe: Probe, scores: Array, y: Array) -> Measured:
    error = scores.reshape(y.shape) - y
    values = -(error**2).reshape(len(y), -1).mean(axis=1)
    spread = ((y - y.mean(axis=0)) ** 2).reshape(len(y), -1).mean()

    def r2(at: Array) -> float:
        """R² of all targets together, which unlike the mean of theirs is a mean over rows."""
        return float(1 + values[at].mean() / spread)

    low, high = bootstrap_interval(r2, len(y))
    metrics = {
        "r2": r2(np.arange(len(y))),
        "mae": float(np.abs(error).mean()),
        "main": "r2",
        "interval": [low, high],
        "baseline": 0.0,
        "is_better": low > 0,
    }
    true = np.asarray(y, np.float64).reshape(len(y), -1)
    predicted = np.asarray(scores, np.float64).reshape(true.shape)
    names = tuple(map(str, range(true.shape[1])))
    predictions = Predictions("regression", true, predicted, None, names, len(names))
    return metrics | measured(predictions, leave_out={"r2", "mae", "rmse"}), values


_MEASURES: dict[str, Callable[[Probe, Array, Array], Measured]] = {
    "classification": _classes,
    "multilabel": _labels,
    "regression": _numbers,
}
