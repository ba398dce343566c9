"""The simple feature pyramid: all levels are made of one map, such as a plain transformer's last.

References
----------
Li, Mao, Girshick, He (2022), "Exploring plain vision transformer backbones for object
detection", section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log2

from torch import nn

from transferkit.maps import FeatureMaps
from transferkit.necks._layers import NormedConv, check_width
from transferkit.necks._neck import Neck as _Neck

__all__ = ["Neck", "SimplePyramidNeck"]


class SimplePyramidNeck(_Neck):
    """Deconvolutions make a map finer, and max-pooling makes it coarser, by powers of 2.

    Of a map of stride 16, levels of stride 4, 8, 16 and 32 take two deconvolutions, one, none
    and a pooling. A 1×1 and a 3×3 convolution follow, each with a norm. Levels are called by
    their stride, as ``stride4``.

    Parameters
    ----------
    channels, strides
        As for `Neck`, of one level.
    width : int, default=64
        Of every level that it returns.
    levels : sequence of float, default=(4, 8, 16, 32)
        Strides that are wanted, fine to coarse. Each becomes the nearest that is the map's own
        times a power of 2: of patches of 14 px, 3.5, 7, 14 and 28. Give only those that are
        used, as the finest is the dearest.

    Raises
    ------
    ValueError
        If there are several levels already, or two that are wanted would be the same.

    Examples
    --------
    >>> SimplePyramidNeck([384], [14], levels=(8, 16, 32)).strides
    (7, 14, 28)
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[float],
        *,
        width: int = 64,
        levels: Sequence[float] = (4, 8, 16, 32),
    ) -> None:
        super().__init__(channels, strides)
        if len(channels) > 1:
            raise ValueError(
                f"the neck 'simple' makes a pyramid of one map and was given {len(channels)}; give "
                "it the last only, or choose 'fpn'"
            )
        steps = _doublings(strides[0], levels)
        self.strides = tuple(_stride(strides[0], step) for step in steps)
        self.out_channels = (check_width(width),) * len(steps)
        self.names = tuple(f"stride{stride:g}" for stride in self.strides)
        self.stages = nn.ModuleList(_stage(channels[0], width, step) for step in steps)

    def forward(self, maps: FeatureMaps) -> FeatureMaps:
        """Compute the levels of the one map."""
        (level,) = self.levels(maps)
        return self.named(self.names, [stage(level) for stage in self.stages])


def _doublings(stride: float, levels: Sequence[float]) -> list[int]:
    """How often the map's size is doubled for each level; below 0, halved."""
    if not len(levels) or min(levels) <= 0:
        raise ValueError(f"levels is {list(levels)}; give strides in px, such as (8, 16, 32)")
    steps = [round(log2(stride / level)) for level in levels]
    if any(finer <= coarser for finer, coarser in pairwise(steps)):
        raise ValueError(
            f"levels {list(levels)} of a map of stride {stride} would be "
            f"{[_stride(stride, step) for step in steps]}; give strides fine to coarse, each twice "
            "the one before it or more"
        )
    return steps


def _stride(stride: float, step: int) -> float:
    new = stride / 2**step
    return int(new) if new == int(new) else new


def _stage(n_inputs: int, width: int, step: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(max(step, 0)):
        n_outputs = max(n_inputs // 2, 1)
        # Between two deconvolutions stand a norm and GELU; behind the last, the convolutions.
        between = [nn.GroupNorm(1, n_inputs), nn.GELU()] if i else []
        layers += [*between, nn.ConvTranspose2d(n_inputs, n_outputs, 2, stride=2)]
        n_inputs = n_outputs
    # In ceil mode, as a map of one px has a coarser one too.
    layers += [nn.MaxPool2d(2, ceil_mode=True) for _ in range(-step)]
    return nn.Sequential(*layers, NormedConv(n_inputs, width), NormedConv(width, width, 3))


Neck = SimplePyramidNeck
