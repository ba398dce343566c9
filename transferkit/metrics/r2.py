"""R²: the share of the variance explained, averaged over the targets."""

import numpy as np

from transferkit.metrics._metric import Metric, Predictions, thousandths

__all__ = ["METRIC", "r2_of_targets"]


def r2_of_targets(predictions: Predictions) -> list[float | None]:
    """R² of each target; None where the true values are all alike."""
    found: list[float | None] = []
    for true, error in zip(predictions.y_true.T, predictions.errors.T, strict=True):
        # Equal numbers needn't equal their mean, which is rounded.
        is_constant = bool((true == true[0]).all())
        spread = float(((true - true.mean()) ** 2).sum())
        is_undefined = is_constant or spread == 0
        found.append(None if is_undefined else float(1 - (error**2).sum() / spread))
    return found


def _compute(predictions: Predictions) -> float | None:
    found = [value for value in r2_of_targets(predictions) if value is not None]
    return float(np.mean(found)) if len(found) == len(predictions.classes) else None


METRIC = Metric("r2", "R²", ("regression",), _compute, format=thousandths, place=10)
