"""Boundary F: whether the boundaries of the classes are where they should be.

For every class the mean over the images where it has a boundary, true or predicted; then the
mean over the classes. A boundary may be 0.75 % of the image's diagonal away, and at least 1 px.

References
----------
Csurka, Larlus, Perronnin (2013), "What is a good evaluation measure for semantic
segmentation?", section 3.
"""

from transferkit.metrics._metric import Metric, share
from transferkit.metrics._pixels import PixelCounts, mean_of_defined

__all__ = ["METRIC"]


def _compute(counts: PixelCounts) -> float:
    return mean_of_defined(counts.boundary_f)


METRIC = Metric("boundary_f", "boundary F", ("segmentation",), _compute, format=share, place=40)
