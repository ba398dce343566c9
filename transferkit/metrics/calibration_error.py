"""Expected calibration error (ECE): how far confidence is from accuracy."""

import numpy as np
from numpy.typing import ArrayLike

from transferkit.metrics._metric import Metric, Predictions, share

__all__ = ["METRIC", "calibration_error"]


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


def _compute(predictions: Predictions) -> float | None:
    if predictions.proba is None:
        return None
    return calibration_error(predictions.is_right, predictions.proba)


METRIC = Metric(
    "calibration_error",
    "ECE",
    ("classification",),
    _compute,
    higher_is_better=False,
    format=share,
    card_title="calibration error",
    place=50,
)
