"""`PyramidHead`, the base class of the heads that take the levels of a pyramid."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from transferkit.maps import FeatureMaps

__all__ = ["PyramidHead"]


class PyramidHead(nn.Module):
    """A module that takes `FeatureMaps`.

    Parameters
    ----------
    channels : sequence of int
        Width of each level that it is given, fine to coarse.
    strides : sequence of float
        Nominal stride of each, px of the network's input.
    n_classes : int
        Number of classes.

    Raises
    ------
    ValueError
        If there are no levels, or not one width and one stride for each.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[float], n_classes: int) -> None:
        super().__init__()
        if not len(channels) or len(channels) != len(strides):
            raise ValueError(
                f"{len(channels)} widths and {len(strides)} strides; give one of each per level, "
                "and one level at least"
            )
        self.channels, self.strides = tuple(channels), tuple(strides)
        self.n_classes = n_classes

    def levels(self, maps: FeatureMaps) -> list[Tensor]:
        """Maps of the levels, fine to coarse.

        Raises
        ------
        ValueError
            If they aren't those that the head was made for.
        """
        levels = list(maps.maps.values())
        given = tuple(level.shape[1] for level in levels)
        if given != self.channels:
            raise ValueError(
                f"the levels are {given} wide, and the head takes {self.channels}; give the maps "
                "that it was made for, fine to coarse"
            )
        return levels
