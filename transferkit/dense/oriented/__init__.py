"""Heads that find oriented boxes: from the levels of a pyramid to turned rectangles with a class.

A file of this folder is one head. Classes count from 1, since number 0 is the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

from numpy.typing import NDArray

from transferkit import registry
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


def oriented_heads() -> list[str]:
    """Names of the heads that find oriented boxes, sorted.

    Examples
    --------
    >>> "rotated-fcos" in oriented_heads()
    True
    """
    return registry.names(__name__)


def default_neck(name: str) -> str:
    """Name of the neck that a head has if none is named.

    Examples
    --------
    >>> default_neck("rotated-fcos")
    'fpn'
    """
    module: Any = registry.load(__name__, name, "oriented head")
    return str(module.NECK)


def suited_options(
    name: str,
    boxes: NDArray[Any],
    strides: Sequence[float],
    size: tuple[int, int],
    *,
    most: int = 0,
) -> dict[str, Any]:
    """Options of a head that suit the boxes of the training images.

    Parameters
    ----------
    name : str
        One of `oriented_heads`.
    boxes : ndarray of shape (n, 4)
        Left, top, right and bottom edges of the upright boxes around all objects, px of the
        network's input.
    strides : sequence of float
        Of the levels that the head is given, fine to coarse.
    size : (int, int)
        Height and width of the input, px.
    most : int, default=0
        Objects of the fullest image.

    Returns
    -------
    dict
        As `create_oriented_head` takes them, and as JSON does.
    """
    module: Any = registry.load(__name__, name, "oriented head")
    options: dict[str, Any] = module.suited_options(boxes, strides, size, most)
    return options


def create_oriented_head(
    name: str, channels: Sequence[int], strides: Sequence[float], n_classes: int, **options: Any
) -> OrientedHead:
    """Make a head that finds oriented boxes by its name, with random weights.

    Parameters
    ----------
    name : str
        One of `oriented_heads`.
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
    module: Any = registry.load(__name__, name, "oriented head")
    allowed = list(signature(module.Head).parameters)[3:]
    for option in options:
        if option not in allowed:
            raise registry.unknown(f"option of the head {name!r}:", option, allowed)
    head = module.Head(channels, strides, n_classes, **options)
    assert isinstance(head, OrientedHead)
    return head
