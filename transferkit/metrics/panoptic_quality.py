"""Panoptic quality (PQ) of instances at a score threshold, averaged over the classes.

It is the sum of the overlaps of matched segments over their number and half of those, found or
true, that are matched with none; two are matched if they overlap by more than a half. Each pixel
is of one segment: of the predicted ones of that with the highest score.

References
----------
Kirillov et al. (2019), "Panoptic segmentation", equation 1.
"""

from transferkit.metrics._instances import InstanceCounts
from transferkit.metrics._metric import Metric, share

__all__ = ["METRIC"]


def _compute(counts: InstanceCounts) -> float:
    quality: float = counts.panoptic.quality
    return quality


METRIC = Metric(
    "panoptic_quality",
    "panoptic quality",
    ("instances",),
    _compute,
    format=share,
    short="PQ",
    place=17,
)
