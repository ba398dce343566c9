"""Root mean squared error (RMSE), averaged over the targets, in their unit."""

import numpy as np

from transferkit.metrics._metric import Metric, Predictions

__all__ = ["METRIC", "rmse_of_targets"]


def rmse_of_targets(predictions: Predictions) -> list[float]:
    """Root mean squared error of each target."""
    return [float(np.sqrt((error**2).mean())) for error in predictions.errors.T]


def _compute(predictions: Predictions) -> float:
    return float(np.mean(rmse_of_targets(predictions)))


METRIC = Metric("rmse", "RMSE", ("regression",), _compute, higher_is_better=False, place=30)
