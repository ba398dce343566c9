"""The feature pyramid network: what coarse levels know is added to finer ones.

References
----------
Lin, Dollár, Girshick, He, Hariharan, Belongie (2017), "Feature pyramid networks for object
detection", section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from transferkit.maps import FeatureMaps
from transferkit.necks._layers import NormedConv, check_width, resized
from transferkit.necks._neck import Neck as _Neck

__all__ = ["FPNNeck", "Neck"]


class FPNNeck(_Neck):
    """Top-down path: ``P[i] = conv3x3(M[i])``, ``M[i] = conv1x1(C[i]) + up(M[i + 1])``.

    Every convolution has a norm, which the paper's have not.

    Parameters
    ----------
    channels, strides
        As for `Neck`.
    width : int, default=64
        Of every level that it returns.
    """

    def __init__(
        self, channels: Sequence[int], strides: Sequence[float], *, width: int = 64
    ) -> None:
        super().__init__(channels, strides)
        self.out_channels = (check_width(width),) * len(channels)
        self.laterals = nn.ModuleList(NormedConv(n, width) for n in channels)
        self.outputs = nn.ModuleList(NormedConv(width, width, 3) for _ in channels)

    def forward(self, maps: FeatureMaps) -> FeatureMaps:
        """Compute the levels, of the sizes and names that they have."""
        levels = self.levels(maps)
        merged: list[Tensor] = []
        for lateral, level in zip(reversed(self.laterals), reversed(levels), strict=True):
            own = lateral(level)
            merged.insert(0, own + resized(merged[0], own) if merged else own)
        outputs = [conv(level) for conv, level in zip(self.outputs, merged, strict=True)]
        return self.named(list(maps.maps), outputs)


Neck = FPNNeck
