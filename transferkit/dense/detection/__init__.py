"""Detection heads: from the levels of a pyramid to boxes with a class and a score.

A file of this folder is one head. Classes count from 1, since number 0 is the background.
"""

from __future__ import annotations

from transferkit.dense.detection._head import Candidates, DetectionHead, Target
from transferkit.dense.detection._suppression import (
    SUPPRESSIONS,
    Detections,
    Suppression,
    suppressed,
)
from transferkit.dense.folder import HeadFolder

__all__ = [
    "SUPPRESSIONS",
    "Candidates",
    "DetectionHead",
    "Detections",
    "Suppression",
    "Target",
    "create_detection_head",
    "default_neck",
    "detection_heads",
    "suited_options",
    "suppressed",
]

_HEADS = HeadFolder[DetectionHead](__name__, "detection head")

detection_heads = _HEADS.names
create_detection_head = _HEADS.create
default_neck = _HEADS.default_neck
suited_options = _HEADS.suited_options
