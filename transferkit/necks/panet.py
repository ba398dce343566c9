"""The path aggregation network: a feature pyramid, and a second path back to the coarse levels.

References
----------
Liu, Qi, Qin, Shi, Jia (2018), "Path aggregation network for instance segmentation", section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.functional import relu

from transferkit.maps import FeatureMaps
from transferkit.necks._layers import NormedConv, check_width, resized, step_of
from transferkit.necks._neck import Neck as _Neck
from transferkit.necks.fpn import FPNNeck

__all__ = ["Neck", "PANetNeck"]


class PANetNeck(_Neck):
    """Bottom-up path behind an `FPNNeck`: ``N[i + 1] = conv3x3(P[i + 1] + down(N[i]))``.

    ``down`` is a 3×3 convolution with a step, ReLU follows each convolution, and ``N[0]`` is
    ``P[0]``.

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
        self.top_down = FPNNeck(channels, strides, width=width)
        steps = [step_of(strides, i) for i in range(len(channels) - 1)]
        self.downs = nn.ModuleList(NormedConv(width, width, 3, stride=step) for step in steps)
        self.outputs = nn.ModuleList(NormedConv(width, width, 3) for _ in steps)

    def forward(self, maps: FeatureMaps) -> FeatureMaps:
        """Compute the levels, of the sizes and names that they have."""
        first, *others = self.top_down(maps).maps.values()
        levels = [first]
        for down, output, level in zip(self.downs, self.outputs, others, strict=True):
            finer = resized(relu(down(levels[-1])), level)
            levels.append(relu(output(level + finer)))
        return self.named(list(maps.maps), levels)


Neck = PANetNeck
