"""Mean intersection over union (mIoU) of the classes, from the pixels of all images together.

A class that is in neither the truth nor a prediction is left out of the mean.

References
----------
Everingham et al. (2010), "The PASCAL visual object classes (VOC) challenge", section 4.3.
"""

from transferkit.metrics._metric import Metric, share
from transferkit.metrics._pixels import PixelCounts, mean_of_defined

__all__ = ["METRIC"]


def _compute(counts: PixelCounts) -> float:
    return mean_of_defined(counts.iou)


METRIC = Metric(
    "mean_iou", "mean IoU", ("segmentation",), _compute, format=share, short="mIoU", place=10
)
