"""Balanced accuracy: the mean recall of the classes that occur among the true ones.

References
----------
Brodersen, Ong, Stephan, Buhmann (2010), "The balanced accuracy and its posterior distribution".
"""

from transferkit.metrics._metric import Metric, Predictions, share

__all__ = ["METRIC"]


def _compute(predictions: Predictions) -> float:
    counts = predictions.counts
    return float(counts.recall[counts.true > 0].mean())


METRIC = Metric(
    "balanced_accuracy",
    "balanced accuracy",
    ("classification",),
    _compute,
    format=share,
    short="balanced",
    place=20,
)
