"""`Neck`, the base class of all necks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import nn

from transferkit.maps import FeatureMaps

__all__ = ["Neck"]


class Neck(nn.Module):
    """A module from `FeatureMaps` to `FeatureMaps`, so that necks can follow one another.

    Parameters
    ----------
    channels : sequence of int
        Width of each level that it is given, fine to coarse.
    strides : sequence of int
        Nominal stride of each, px of the network's input.

    Attributes
    ----------
    out_channels : tuple of int
        Width of each level that it returns.
    strides : tuple of int
        Nominal stride of each level that it returns.
    """

    out_channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        if not len(channels) or len(channels) != len(strides):
            raise ValueError(
                f"{len(channels)} widths and {len(strides)} strides; give one of each per level, "
                "and one level at least"
            )
        self.out_channels, self.strides = tuple(channels), tuple(strides)

    @abstractmethod
    def forward(self, maps: FeatureMaps) -> FeatureMaps:
        """Compute the levels, fine to coarse."""
