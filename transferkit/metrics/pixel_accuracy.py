"""Pixel accuracy: the share of the pixels of known class that are predicted right."""

from transferkit.metrics._metric import Metric, share
from transferkit.metrics._pixels import PixelCounts

__all__ = ["METRIC"]


def _compute(counts: PixelCounts) -> float:
    return float(counts.hits.sum() / counts.true.sum())


METRIC = Metric(
    "pixel_accuracy",
    "pixel accuracy",
    ("segmentation",),
    _compute,
    format=share,
    short="pixels",
    place=30,
)
