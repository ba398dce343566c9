"""Pixel AUROC: how often a strange pixel has a higher score than a good one, of all images.

Scores are binned; see `transferkit.metrics._anomalies.AnomalyScores`.
"""

from transferkit.metrics._anomalies import AnomalyScores, area
from transferkit.metrics._metric import Metric, thousandths

__all__ = ["METRIC"]


def _compute(scores: AnomalyScores) -> float | None:
    if not scores.good.any() or not scores.strange.any():
        return None
    good, strange, _ = scores.pixel_curve
    return area(strange, good)


METRIC = Metric("pixel_auroc", "pixel AUROC", ("anomaly",), _compute, format=thousandths, place=20)
