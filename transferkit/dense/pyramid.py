"""Which layers of a backbone make its pyramid, and the necks that suit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2
from typing import Any

from transferkit.maps import LayerInfo
from transferkit.necks import Neck, NeckChain, create_neck

__all__ = ["MIN_SIDE", "check_image_size", "pyramid_layers", "pyramid_neck"]

MIN_SIDE = 32
"""Least height and width of images, px: one pixel at the coarsest of the usual strides."""


def pyramid_layers(
    layers: Mapping[str, LayerInfo], strides: Sequence[int] = (4, 8, 16, 32)
) -> tuple[str, ...]:
    """Choose the layers that make a pyramid: the last of each stride, before the last norm.

    A plain transformer's blocks have one stride, whatever it is. Of these only ``final`` is
    chosen, after the last norm, without which a few tokens are many times as long as the others
    (Darcet et al., 2024, "Vision transformers need registers"). `pyramid_neck` makes a pyramid
    of it.

    Parameters
    ----------
    layers : mapping of str to LayerInfo
        The backbone's, as `Backbone.layers` or `layers_of`.
    strides : sequence of int, default=(4, 8, 16, 32)
        Those that are wanted, input px per map px; 7 and 14 px count as 8 and 16. Where a
        backbone lacks one, the level is left out.

    Returns
    -------
    tuple of str
        Names of layers, fine to coarse.

    Raises
    ------
    ValueError
        If no layer has one of these strides.

    Examples
    --------
    >>> strides = {"stage0": 2, "stage1": 4, "stage2": 4, "stage3": 8, "final": 8}
    >>> pyramid_layers({name: LayerInfo(16, stride) for name, stride in strides.items()})
    ('stage2', 'stage3')
    >>> pyramid_layers({name: LayerInfo(192, 14) for name in ("block0", "block1", "final")})
    ('final',)
    """
    if not strides or min(strides) <= 0:
        raise ValueError(f"strides is {list(strides)}; give px above 0, such as (8, 16, 32)")
    maps = {name: info for name, info in layers.items() if info.is_map}
    if len({info.stride for info in maps.values()}) == 1:
        return ("final",) if "final" in maps else (list(maps)[-1],)
    last: dict[int, str] = {}
    for name, info in maps.items():
        octave = round(log2(info.stride))
        # `final` is often wider than the last stage, and says no more; it is taken only where
        # nothing else has its stride, as in AlexNet.
        if name != "final" or octave not in last:
            last[octave] = name
    wanted = sorted({round(log2(stride)) for stride in strides})
    if not set(wanted) & set(last):
        known = sorted({info.stride for info in maps.values()})
        raise ValueError(
            f"no layer has one of the strides {list(strides)}; "
            + (f"this backbone's are {known}" if known else "this backbone gives no maps")
        )
    return tuple(last[octave] for octave in wanted if octave in last)


def check_image_size(image_size: tuple[int, int]) -> None:
    """Refuse images that are too small for four levels.

    Sides that are multiples of 32 px (of 14 for patches of 14 px, as 448) suit every network, and
    keep the pixels of all levels in place: a transformer leaves out the pixels that fill no patch.

    Parameters
    ----------
    image_size : (int, int)
        Height and width of the network's input, px.

    Raises
    ------
    ValueError
        If a side is below 32 px.

    Examples
    --------
    >>> check_image_size((32, 480))
    """
    if min(image_size) < MIN_SIDE:
        height, width = image_size
        raise ValueError(
            f"image_size is {height} × {width} px, of which the coarsest map would be less than a "
            f"pixel; give {MIN_SIDE} × {MIN_SIDE} px or more"
        )


def pyramid_neck(
    name: str, channels: Sequence[int], strides: Sequence[float], **options: Any
) -> Neck:
    """Make a neck, with the simple pyramid in front if there is one level only.

    So a plain transformer, whose `pyramid_layers` are one, has four levels behind ``fpn``,
    ``panet`` and ``bifpn``, as a network with stages.

    Parameters
    ----------
    name, channels, strides, **options
        As for `create_neck`. An option ``levels`` is that of ``simple``, and needs one level.

    Raises
    ------
    ValueError
        If there is no such neck, or it can't take these levels.

    Examples
    --------
    >>> pyramid_neck("fpn", [192], [16], width=32).strides
    (4, 8, 16, 32)
    >>> pyramid_neck("fpn", [64, 128], [8, 16], width=32).strides
    (8, 16)
    """
    if len(channels) > 1 or name in ("none", "simple"):
        return create_neck(name, channels, strides, **options)
    shared = {word: options[word] for word in ("width", "levels") if word in options}
    simple = create_neck("simple", channels, strides, **shared)
    own = {word: value for word, value in options.items() if word != "levels"}
    return NeckChain(simple, create_neck(name, simple.out_channels, simple.strides, **own))
