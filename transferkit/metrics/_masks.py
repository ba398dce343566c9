"""Areas and overlaps of masks, as COCO measures them."""

from __future__ import annotations

import numpy as np

from transferkit.annotations import Annotations, Masks
from transferkit.metrics._matching import Shapes

__all__ = ["MASKS"]


def _masks(annotations: Annotations) -> Masks:
    assert annotations.masks is not None
    return annotations.masks


MASKS = Shapes(
    overlaps=lambda found, true, is_crowd: _masks(found).overlaps(_masks(true), is_crowd),
    areas=lambda one: _masks(one).areas.astype(np.float64),
    held="masks",
)
"""Overlaps are shares of pixels; only pairs whose rectangles meet are looked at."""
