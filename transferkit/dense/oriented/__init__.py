"""Heads that find oriented boxes: from the levels of a pyramid to turned rectangles with a class.

A file of this folder is one head. Classes count from 1, since number 0 is the background.
"""

from __future__ import annotations

from transferkit.dense.folder import HeadFolder
from transferkit.dense.oriented._head import OrientedHead, OrientedTarget
from transferkit.dense.oriented._suppression import OrientedDetections, suppressed_oriented

__all__ = [
    "OrientedDetections",
    "OrientedHead",
    "OrientedTarget",
    "create_oriented_head",
    "default_neck",
    "oriented_heads",
    "suited_options",
    "suppressed_oriented",
]

_HEADS = HeadFolder[OrientedHead](__name__, "oriented head")

oriented_heads = _HEADS.names
create_oriented_head = _HEADS.create
default_neck = _HEADS.default_neck
suited_options = _HEADS.suited_options
