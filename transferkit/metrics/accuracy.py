"""Accuracy: the share of right predictions."""

from transferkit.metrics._metric import Metric, Predictions, share

__all__ = ["METRIC"]


def _compute(predictions: Predictions) -> float:
    return float(predictions.is_right.mean())


METRIC = Metric("accuracy", "accuracy", ("classification",), _compute, format=share, place=10)
