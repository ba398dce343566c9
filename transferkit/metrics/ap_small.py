"""Average precision of objects below 32² px of the image; see `average_precision`."""

from transferkit.metrics._detections import DetectionCounts
from transferkit.metrics._metric import Metric, share

__all__ = ["METRIC"]


def _compute(counts: DetectionCounts) -> float:
    return counts.average_precision("small")


METRIC = Metric("ap_small", "AP small", ("detection",), _compute, format=share, place=13)
