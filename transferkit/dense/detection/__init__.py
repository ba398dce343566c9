"""Detection heads: from the levels of a pyramid to boxes with a class and a score.

A file of this folder is one head. Classes count from 1, since number 0 is the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

from numpy.typing import NDArray

from transferkit import registry
from transferkit.dense.detection._head import Candidates, DetectionHead, Target
from transferkit.dense.detection._suppression import (
    SUPPRESSIONS,
    Detections,
    Suppression,
    suppressed,
)

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


def detection_heads() -> list[str]:
    """Names of the detection heads, sorted.

    Examples
    --------
    >>> "fcos" in detection_heads()
    True
    """
    return registry.names(__name__)


def default_neck(name: str) -> str:
    """Name of the neck that a head has if none is named.

    Examples
    --------
    >>> default_neck("fcos")
    'fpn'
    """
    module: Any = registry.load(__name__, name, "detection head")
    return str(module.NECK)


def suited_options(
    name: str,
    boxes: NDArray[Any],
    strides: Sequence[float],
    size: tuple[int, int],
    *,
    most: int = 0,
) -> dict[str, Any]:
    """Options of a head that suit the boxes of the training images, such as its anchors.

    Parameters
    ----------
    name : str
        One of `detection_heads`.
    boxes : ndarray of shape (n, 4)
        Left, top, right and bottom edges of all objects, px of the network's input.
    strides : sequence of float
        Of the levels that the head is given, fine to coarse.
    size : (int, int)
        Height and width of the input, px.
    most : int, default=0
        Objects of the fullest image.

    Returns
    -------
    dict
        As `create_detection_head` takes them, and as JSON does.
    """
    module: Any = registry.load(__name__, name, "detection head")
    options: dict[str, Any] = module.suited_options(boxes, strides, size, most)
    return options


def create_detection_head(
    name: str, channels: Sequence[int], strides: Sequence[float], n_classes: int, **options: Any
) -> DetectionHead:
    """Make a detection head by its name, with random weights.

    Parameters
    ----------
    name : str
        One of `detection_heads`.
    channels : sequence of int
        Width of each level that it is given, fine to coarse.
    strides : sequence of float
        Nominal stride of each, px of the network's input.
    n_classes : int
        Number of classes, the background among them.
    **options
        Of the head, such as ``width``.

    Raises
    ------
    ValueError
        If there is no such head or option.
    """
    module: Any = registry.load(__name__, name, "detection head")
    allowed = list(signature(module.Head).parameters)[3:]
    for option in options:
        if option not in allowed:
            raise registry.unknown(f"option of the head {name!r}:", option, allowed)
    head = module.Head(channels, strides, n_classes, **options)
    assert isinstance(head, DetectionHead)
    return head
