"""Log loss: the mean of -log of the true class's probability.

Only samples whose true class the model knows count: any other would make it infinite.
"""

import numpy as np

from transferkit.metrics._metric import Metric, Predictions

__all__ = ["METRIC"]


def _compute(predictions: Predictions) -> float | None:
    true, proba = predictions.y_true, predictions.proba
    if proba is None:
        return None
    rows = np.flatnonzero(true < predictions.n_known)
    if not len(rows):
        return None
    # Probabilities of 0 are replaced by the smallest step of their type, as in scikit-learn.
    smallest = np.finfo(proba.dtype).eps if proba.dtype.kind == "f" else 1e-15
    return float(-np.log(np.maximum(proba[rows, true[rows]], smallest)).mean(dtype=np.float64))


METRIC = Metric(
    "log_loss",
    "log loss",
    ("classification",),
    _compute,
    higher_is_better=False,
    format="{:.4f}".format,
    place=40,
)
