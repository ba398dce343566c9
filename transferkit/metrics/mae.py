"""Mean absolute error (MAE), averaged over the targets, in their unit."""

import numpy as np

from transferkit.metrics._metric import Metric, Predictions

__all__ = ["METRIC", "mae_of_targets"]


def mae_of_targets(predictions: Predictions) -> list[float]:
    """Mean absolute error of each target."""
    return [float(np.abs(error).mean()) for error in predictions.errors.T]


def _compute(predictions: Predictions) -> float:
    return float(np.mean(mae_of_targets(predictions)))


METRIC = Metric("mae", "MAE", ("regression",), _compute, higher_is_better=False, place=20)
