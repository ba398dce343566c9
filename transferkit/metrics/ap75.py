"""Average precision where an overlap of 0.75 counts as found; see `average_precision`."""

from transferkit.metrics._detections import OBJECT_TASKS, DetectionCounts
from transferkit.metrics._metric import Metric, share

__all__ = ["METRIC"]


def _compute(counts: DetectionCounts) -> float:
    return counts.average_precision(threshold=5)


METRIC = Metric("ap75", "AP75", OBJECT_TASKS, _compute, format=share, place=12)
