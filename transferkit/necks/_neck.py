"""`Neck`, the base class of all necks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from transferkit.maps import FeatureMaps

__all__ = ["Neck"]


class Neck(nn.Module):
    """A module from `FeatureMaps` to `FeatureMaps`, so that necks can follow one another.

    Parameters
    ----------
    channels : sequence of int
        Width of each level that it is given, fine to coarse.
    strides : sequence of float
        Nominal stride of each, px of the network's input. Only what a neck is made of depends on
        them: it reads the levels' true sizes from the maps.

    Attributes
    ----------
    in_channels : tuple of int
        Width of each level that it is given.
    out_channels : tuple of int
        Width of each level that it returns.
    strides : tuple of float
        Nominal stride of each level that it returns.

    Raises
    ------
    ValueError
        If there is no level, widths and strides differ in number, one of them isn't above 0, or
        a level is finer than the one before it.
    """

    in_channels: tuple[int, ...]
    out_channels: tuple[int, ...]
    strides: tuple[float, ...]

    def __init__(self, channels: Sequence[int], strides: Sequence[float]) -> None:
        super().__init__()
        if not len(channels) or len(channels) != len(strides):
            raise ValueError(
                f"{len(channels)} widths and {len(strides)} strides; give one of each per level, "
                "and one level at least"
            )
        if min(channels) < 1 or min(strides) <= 0 or list(strides) != sorted(strides):
            raise ValueError(
                f"widths {list(channels)} and strides {list(strides)} are no pyramid; give numbers "
                "above 0, fine to coarse"
            )
        self.in_channels = self.out_channels = tuple(channels)
        self.strides = tuple(strides)

    @abstractmethod
    def forward(self, maps: FeatureMaps) -> FeatureMaps:
        """Compute the levels, fine to coarse.

        Raises
        ------
        ValueError
            If there are more or fewer levels than it was made for, or of other widths.
        """

    def levels(self, maps: FeatureMaps) -> list[Tensor]:
        """Maps ``(B, D, H, W)``, fine to coarse, after a look at their number and widths."""
        levels = list(maps.maps.values())
        widths = tuple(level.shape[1] for level in levels)
        if widths != self.in_channels:
            raise ValueError(
                f"the neck was made for levels of widths {list(self.in_channels)} and was given "
                f"{list(widths)}; make it for these, by `create_neck`"
            )
        return levels

    def named(self, names: Sequence[str], levels: Sequence[Tensor]) -> FeatureMaps:
        """Pair the levels that it returns with their names and strides."""
        return FeatureMaps(
            dict(zip(names, levels, strict=True)), dict(zip(names, self.strides, strict=True))
        )
