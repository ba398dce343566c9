"""Segmentation heads: from the levels of a pyramid to a score of every class at every pixel.

A file of this folder is one head.
"""

from __future__ import annotations

from transferkit.dense.folder import HeadFolder
from transferkit.dense.segmentation._head import SegmentationHead
from transferkit.dense.segmentation._losses import (
    CLASS_WEIGHTS,
    LOSSES,
    SegmentationLoss,
    class_weights_of,
    create_loss,
)

__all__ = [
    "CLASS_WEIGHTS",
    "LOSSES",
    "SegmentationHead",
    "SegmentationLoss",
    "class_weights_of",
    "create_loss",
    "create_segmentation_head",
    "default_neck",
    "segmentation_heads",
]

_HEADS = HeadFolder[SegmentationHead](__name__, "segmentation head")

segmentation_heads = _HEADS.names
create_segmentation_head = _HEADS.create
default_neck = _HEADS.default_neck
