"""F1 of the images that are said to be strange, at the detector's threshold."""

from transferkit.metrics._anomalies import AnomalyScores
from transferkit.metrics._metric import Metric, share

__all__ = ["METRIC"]


def _compute(scores: AnomalyScores) -> float | None:
    flagged, strange = scores.is_flagged, scores.is_anomalous
    if flagged is None or not strange.any():
        return None
    return float(2 * (flagged & strange).sum() / (flagged.sum() + strange.sum()))


METRIC = Metric("anomaly_f1", "F1", ("anomaly",), _compute, format=share, place=40)
