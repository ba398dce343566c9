"""Segmentation heads: from the levels of a pyramid to a score of every class at every pixel.

A file of this folder is one head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transferkit import registry
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


def segmentation_heads() -> list[str]:
    """Names of the segmentation heads, sorted.

    Examples
    --------
    >>> "linear" in segmentation_heads()
    True
    """
    return registry.names(__name__)


def default_neck(name: str) -> str:
    """Name of the neck that a head has if none is named.

    Examples
    --------
    >>> default_neck("linear")
    'none'
    """
    module: Any = registry.load(__name__, name, "segmentation head")
    return str(module.NECK)


def create_segmentation_head(
    name: str, channels: Sequence[int], strides: Sequence[float], n_classes: int, **options: Any
) -> SegmentationHead:
    """Make a segmentation head by its name, with random weights.

    Parameters
    ----------
    name : str
        One of `segmentation_heads`.
    channels : sequence of int
        Width of each level that it is given, fine to coarse.
    strides : sequence of float
        Nominal stride of each, px of the network's input.
    n_classes : int
        Number of classes.
    **options
        Of the head, such as ``width``.

    Raises
    ------
    ValueError
        If there is no such head.

    Examples
    --------
    >>> import torch
    >>> from transferkit.maps import FeatureMaps
    >>> head = create_segmentation_head("linear", [8, 16], [4, 8], n_classes=3)
    >>> maps = {"a": torch.zeros(2, 8, 9, 7), "b": torch.zeros(2, 16, 5, 4)}
    >>> head(FeatureMaps(maps, {"a": 4, "b": 8})).shape
    torch.Size([2, 3, 9, 7])
    """
    module: Any = registry.load(__name__, name, "segmentation head")
    head = module.Head(channels, strides, n_classes, **options)
    assert isinstance(head, SegmentationHead)
    return head
