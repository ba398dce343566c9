"""Average precision (AP) as COCO measures it, averaged over overlaps of 0.50, 0.55 … 0.95.

The precision is read at 101 recalls, as the highest one at that recall or a larger one. It is
averaged over the classes that have an object. Of oriented boxes it is DOTA's: the area under that
precision, with other rules for what is found; see `transferkit.metrics.oriented_report`.

References
----------
Lin et al. (2014), "Microsoft COCO: common objects in context", and the evaluation at
https://cocodataset.org/#detection-eval.
"""

from transferkit.metrics._detections import OBJECT_TASKS, DetectionCounts
from transferkit.metrics._metric import Metric, share

__all__ = ["METRIC"]


def _compute(counts: DetectionCounts) -> float:
    return counts.average_precision()


METRIC = Metric("average_precision", "AP", OBJECT_TASKS, _compute, format=share, place=10)
