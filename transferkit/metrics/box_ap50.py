"""Average precision of the boxes of instances at an overlap of 0.5; see `ap50`."""

from transferkit.metrics._instances import InstanceCounts
from transferkit.metrics._metric import Metric, share

__all__ = ["METRIC"]


def _compute(counts: InstanceCounts) -> float:
    return counts.of_boxes.average_precision(threshold=0)


METRIC = Metric("box_ap50", "box AP50", ("instances",), _compute, format=share, place=21)
