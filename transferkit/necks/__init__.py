"""Necks turn the maps of a backbone into a pyramid whose levels know of one another.

A file of this folder is one neck. It takes any number of levels, of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transferkit import registry
from transferkit.necks._chain import NeckChain
from transferkit.necks._neck import Neck

__all__ = ["Neck", "NeckChain", "create_neck", "neck_names"]


def neck_names() -> list[str]:
    """Names of the necks, sorted.

    Examples
    --------
    >>> "none" in neck_names()
    True
    """
    return registry.names(__name__)


def create_neck(
    name: str, channels: Sequence[int], strides: Sequence[float], **options: Any
) -> Neck:
    """Make a neck by its name, with random weights.

    Parameters
    ----------
    name : str
        One of `neck_names`.
    channels : sequence of int
        Width of each level that it is given, fine to coarse.
    strides : sequence of float
        Nominal stride of each, px of the network's input.
    **options
        Of the neck, such as ``width``.

    Raises
    ------
    ValueError
        If there is no such neck, or it can't take these levels.

    Examples
    --------
    >>> neck = create_neck("none", [64, 128], [8, 16])
    >>> neck.out_channels, neck.strides
    ((64, 128), (8, 16))
    """
    module: Any = registry.load(__name__, name, "neck")
    neck = module.Neck(channels, strides, **options)
    assert isinstance(neck, Neck)
    return neck
