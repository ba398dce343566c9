"""`NeckChain` lets necks follow one another."""

from __future__ import annotations

from torch import nn

from transferkit.maps import FeatureMaps
from transferkit.necks._neck import Neck

__all__ = ["NeckChain"]


class NeckChain(Neck):
    """Necks as one neck, each made for what the one before it returns.

    Parameters
    ----------
    first : Neck
        Is given the backbone's maps.
    *others : Neck
        In their order.

    Raises
    ------
    ValueError
        If a neck isn't made for the widths that the one before it returns.

    Examples
    --------
    >>> from transferkit.necks import create_neck
    >>> simple = create_neck("simple", [192], [16], width=32)
    >>> NeckChain(simple, create_neck("fpn", simple.out_channels, simple.strides)).strides
    (4, 8, 16, 32)
    """

    def __init__(self, first: Neck, *others: Neck) -> None:
        # The strides that the first was given don't matter here: it tells what it returns.
        super().__init__(first.in_channels, range(1, len(first.in_channels) + 1))
        last = first
        for neck in others:
            if neck.in_channels != last.out_channels:
                raise ValueError(
                    f"{type(neck).__name__} is made for widths {list(neck.in_channels)} and "
                    f"follows {type(last).__name__}, which returns {list(last.out_channels)}; "
                    "make it for these"
                )
            last = neck
        self.necks = nn.ModuleList((first, *others))
        self.out_channels, self.strides = last.out_channels, last.strides

    def forward(self, maps: FeatureMaps) -> FeatureMaps:
        """Compute the levels of the last neck."""
        for neck in self.necks:
            maps = neck(maps)
        return maps
