"""Average precision of the boxes of instances; see `average_precision`."""

from transferkit.metrics._instances import InstanceCounts
from transferkit.metrics._metric import Metric, share

__all__ = ["METRIC"]


def _compute(counts: InstanceCounts) -> float:
    return counts.of_boxes.average_precision()


METRIC = Metric("box_average_precision", "box AP", ("instances",), _compute, format=share, place=20)
