"""Mean Dice coefficient of the classes, from the pixels of all images together.

A class that is in neither the truth nor a prediction is left out of the mean.

References
----------
Dice (1945), "Measures of the amount of ecologic association between species".
"""

from transferkit.metrics._metric import Metric, share
from transferkit.metrics._pixels import PixelCounts, mean_of_defined

__all__ = ["METRIC"]


def _compute(counts: PixelCounts) -> float:
    return mean_of_defined(counts.dice)


METRIC = Metric(
    "mean_dice", "mean Dice", ("segmentation",), _compute, format=share, short="Dice", place=20
)
