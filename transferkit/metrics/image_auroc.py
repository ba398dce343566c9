"""Image AUROC: how often a strange image has a higher score than a good one."""

from sklearn.metrics import roc_auc_score

from transferkit.metrics._anomalies import AnomalyScores
from transferkit.metrics._metric import Metric, thousandths

__all__ = ["METRIC"]


def _compute(scores: AnomalyScores) -> float | None:
    if scores.is_anomalous.all() or not scores.is_anomalous.any():
        return None
    return float(roc_auc_score(scores.is_anomalous, scores.images))


METRIC = Metric("image_auroc", "image AUROC", ("anomaly",), _compute, format=thousandths, place=10)
