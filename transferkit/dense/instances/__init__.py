"""Instance heads: from the levels of a pyramid to objects with a class, a score and a mask.

A file of this folder is one head. Classes count from 1, since number 0 is the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

from numpy.typing import NDArray

from transferkit import registry
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


def instance_heads() -> list[str]:
    """Names of the instance heads, sorted.

    Examples
    --------
    >>> instance_heads()
    ['mask-rcnn']
    """
    return registry.names(__name__)


def default_neck(name: str) -> str:
    """Name of the neck that a head has if none is named.

    Examples
    --------
    >>> default_neck("mask-rcnn")
    'fpn'
    """
    module: Any = registry.load(__name__, name, "instance head")
    return str(module.NECK)


def suited_options(
    name: str,
    boxes: NDArray[Any],
    strides: Sequence[float],
    size: tuple[int, int],
    *,
    most: int = 0,
) -> dict[str, Any]:
    """Options of a head that suit the objects of the training images.

    Parameters
    ----------
    name : str
        One of `instance_heads`.
    boxes, strides, size, most
        As for `transferkit.dense.detection.suited_options`.
    """
    module: Any = registry.load(__name__, name, "instance head")
    options: dict[str, Any] = module.suited_options(boxes, strides, size, most)
    return options


def create_instance_head(
    name: str, channels: Sequence[int], strides: Sequence[float], n_classes: int, **options: Any
) -> ObjectHead:
    """Make an instance head by its name, with random weights.

    Parameters
    ----------
    name : str
        One of `instance_heads`.
    channels, strides, n_classes, **options
        As for `transferkit.dense.detection.create_detection_head`.

    Raises
    ------
    ValueError
        If there is no such head or option.
    """
    module: Any = registry.load(__name__, name, "instance head")
    allowed = list(signature(module.Head).parameters)[3:]
    for option in options:
        if option not in allowed:
            raise registry.unknown(f"option of the head {name!r}:", option, allowed)
    head = module.Head(channels, strides, n_classes, **options)
    assert isinstance(head, ObjectHead)
    return head
