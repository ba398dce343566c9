"""The bidirectional feature pyramid: levels meet by weights that are learnt, several times over.

References
----------
Tan, Pang, Le (2020), "EfficientDet: Scalable and efficient object detection", section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu, silu

from transferkit.maps import FeatureMaps
from transferkit.necks._layers import NormedConv, check_width, resized, step_of
from transferkit.necks._neck import Neck as _Neck

__all__ = ["BiFPNLayer", "BiFPNNeck", "FastFusion", "Neck"]


class FastFusion(nn.Module):
    """Fast normalised fusion ``O = Σ w[i] I[i] / (ε + Σ w[j])``, w ≥ 0, and a convolution.

    Tan et al. (2020), section 3.3. The convolution is depthwise-separable, as theirs.

    Parameters
    ----------
    n_inputs : int
        How many maps meet.
    width : int
        Of each.
    """

    def __init__(self, n_inputs: int, width: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(n_inputs))
        self.conv = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            NormedConv(width, width),
        )

    def forward(self, *maps: Tensor) -> Tensor:
        """Fuse maps of one size."""
        weights = relu(self.weights)
        fused = sum(w * m for w, m in zip(weights, maps, strict=True)) / (weights.sum() + 1e-4)
        output = self.conv(silu(fused))
        assert isinstance(output, Tensor)
        return output


class BiFPNLayer(nn.Module):
    """One way down and one way up through levels of one width.

    Parameters
    ----------
    strides : sequence of float
        Of the levels, px.
    width : int
        Of each.
    """

    def __init__(self, strides: Sequence[float], width: int) -> None:
        super().__init__()
        n = len(strides)
        self.steps = [step_of(strides, i) for i in range(n - 1)]
        self.top_down = nn.ModuleList(FastFusion(2, width) for _ in range(n - 1))
        # The coarsest level isn't on the way down, so that one map fewer meets there.
        self.bottom_up = nn.ModuleList(
            FastFusion(3 if i < n - 1 else 2, width) for i in range(1, n)
        )

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Compute the levels anew, fine to coarse."""
        middle = [levels[-1]]
        for fuse, level in zip(reversed(self.top_down), reversed(levels[:-1]), strict=True):
            middle.insert(0, fuse(level, resized(middle[0], level)))
        outputs = [middle[0]]
        for i, (fuse, step) in enumerate(zip(self.bottom_up, self.steps, strict=True), 1):
            # 3×3 px for a step of 2, as theirs; 1×1 for levels of one stride.
            finer = max_pool2d(outputs[-1], step // 2 * 2 + 1, step, padding=step // 2)
            known = [levels[i]] if i == len(levels) - 1 else [levels[i], middle[i]]
            outputs.append(fuse(*known, resized(finer, levels[i])))
        return outputs


class BiFPNNeck(_Neck):
    """Levels brought to one width, and `BiFPNLayer` several times.

    Parameters
    ----------
    channels, strides
        As for `Neck`.
    width : int, default=64
        Of every level that it returns.
    repeats : int, default=2
        How many layers.

    Raises
    ------
    ValueError
        If there is no layer.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[float],
        *,
        width: int = 64,
        repeats: int = 2,
    ) -> None:
        super().__init__(channels, strides)
        if repeats < 1:
            raise ValueError(f"repeats is {repeats}; a bifpn has 1 layer or more")
        self.out_channels = (check_width(width),) * len(channels)
        self.laterals = nn.ModuleList(NormedConv(n, width) for n in channels)
        self.layers = nn.Sequential(*(BiFPNLayer(strides, width) for _ in range(repeats)))

    def forward(self, maps: FeatureMaps) -> FeatureMaps:
        """Compute the levels, of the sizes and names that they have."""
        levels = zip(self.laterals, self.levels(maps), strict=True)
        return self.named(list(maps.maps), self.layers([lateral(x) for lateral, x in levels]))


Neck = BiFPNNeck
