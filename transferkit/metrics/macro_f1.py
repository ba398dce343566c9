"""Macro F1: the mean F1 of the classes or labels.

Of classes those count that occur among the true or the predicted ones; of labels all do.
"""

from transferkit.metrics._metric import Metric, Predictions, share

__all__ = ["METRIC"]


def _compute(predictions: Predictions) -> float:
    counts = predictions.counts
    if predictions.task == "multilabel":
        return float(counts.f1.mean())
    return float(counts.f1[counts.true + counts.predicted > 0].mean())


METRIC = Metric(
    "macro_f1", "macro F1", ("classification", "multilabel"), _compute, format=share, place=30
)
