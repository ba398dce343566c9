"""Average recall (AR) as COCO measures it, over overlaps of 0.50, 0.55 … 0.95 and the classes.

Of each class and image the 100 detections with the highest scores are looked at, or as many as
the report was told to.

References
----------
Hosang et al. (2016), "What makes for effective detection proposals?", section 3.4; the
evaluation at https://cocodataset.org/#detection-eval.
"""

from transferkit.metrics._detections import OBJECT_TASKS, DetectionCounts
from transferkit.metrics._metric import Metric, share

__all__ = ["METRIC"]


def _compute(counts: DetectionCounts) -> float:
    return counts.average_recall()


METRIC = Metric("average_recall", "AR", OBJECT_TASKS, _compute, format=share, place=16)
