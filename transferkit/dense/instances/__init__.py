"""Instance heads: from the levels of a pyramid to objects with a class, a score and a mask.

A file of this folder is one head. Classes count from 1, since number 0 is the background.
"""

from __future__ import annotations

from transferkit.dense.folder import HeadFolder
from transferkit.dense.instances._detections import InstanceDetections, InstanceTarget
from transferkit.dense.objects import ObjectHead

__all__ = [
    "InstanceDetections",
    "InstanceTarget",
    "create_instance_head",
    "default_neck",
    "instance_heads",
    "suited_options",
]

_HEADS = HeadFolder[ObjectHead](__name__, "instance head")

instance_heads = _HEADS.names
create_instance_head = _HEADS.create
default_neck = _HEADS.default_neck
suited_options = _HEADS.suited_options
