"""Exact match: the share of samples of which every label is right."""

from transferkit.metrics._metric import Metric, Predictions, share

__all__ = ["METRIC"]


def _compute(predictions: Predictions) -> float:
    return float(predictions.is_right.mean())


METRIC = Metric("exact_match", "exact match", ("multilabel",), _compute, format=share, place=40)
