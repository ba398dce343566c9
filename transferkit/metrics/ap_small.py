"""Average precision of objects below 32² px of the image; see `average_precision`."""

from transferkit.metrics._detections import OBJECT_TASKS, DetectionCounts
from transferkit.metrics._metric import Metric, share

__all__ = ["METRIC"]


def _compute(counts: DetectionCounts) -> float:
    return counts.average_precision("small")


METRIC = Metric("ap_small", "AP small", OBJECT_TASKS, _compute, format=share, place=13)
