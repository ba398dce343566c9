"""Areas and overlaps of masks, as COCO measures them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import Annotations, Masks
from transferkit.metrics._matching import Shapes

__all__ = ["MASKS"]


def _masks(annotations: Annotations) -> Masks:
    assert annotations.masks is not None
    return annotations.masks


def _places(annotations: Annotations) -> NDArray[np.float64]:
    """Edges of the boxes around masks, as shares of the image's size."""
    height, width = annotations.size
    shares: NDArray[np.float64] = _masks(annotations).boxes / (width, height, width, height)
    return shares


MASKS = Shapes(
    overlaps=lambda found, true, is_crowd: _masks(found).overlaps(_masks(true), is_crowd),
    areas=lambda one: _masks(one).areas.astype(np.float64),
    held="masks",
    places=_places,
)
"""Overlaps are shares of pixels; only pairs whose rectangles meet are looked at. What a
model is compared with is a class's median box, and how much it overlaps with those of objects."""
