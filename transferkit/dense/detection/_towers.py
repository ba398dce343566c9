"""Layers that the single-stage heads are made of."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["ExtraLevels", "Tower", "flattened", "last_layer", "laterals"]

# Confidence that a fresh head has of every class at every place: with 1/2 the many px of the
# background would be all that it learns at first. Lin et al. (2017), section 4.1.
_PRIOR = 0.01


class ExtraLevels(nn.Module):
    """Add levels behind the coarsest, each of half the size of the one before it.

    Parameters
    ----------
    n_inputs : int
        Width of the coarsest level.
    width : int
        Of the levels that are added.
    n : int
        How many.

    Raises
    ------
    ValueError
        If no layer can have this width, or the number is below 0.
    """

    def __init__(self, n_inputs: int, width: int, n: int) -> None:
        super().__init__()
        check_width(width)
        if n < 0:
            raise ValueError(f"extra_levels is {n}; give 0 or more")
        widths = [n_inputs, *[width] * n]
        self.layers = nn.ModuleList(_normed(a, b, stride=2) for a, b in itertools.pairwise(widths))

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Levels that are given and those that are added, fine to coarse."""
        result = list(levels)
        for layer in self.layers:
            result.append(layer(result[-1]))
        return result

    def strides(self, given: Sequence[float]) -> tuple[float, ...]:
        """Strides of the levels that it returns, px of the network's input."""
        return (*given, *(given[-1] * 2 ** (i + 1) for i in range(len(self.layers))))


def laterals(channels: Sequence[int], width: int) -> nn.ModuleList:
    """Make the layers that bring levels to one width; one that has it stays as it is."""
    check_width(width)
    return nn.ModuleList(nn.Identity() if n == width else nn.Conv2d(n, width, 1) for n in channels)


def check_width(width: int) -> None:
    """Refuse a width that no layer with a norm can have."""
    if width < 2:  # a norm over one value is 0, whatever the value
        raise ValueError(f"the width of a head is {width}; give 2 or more, such as 64")


class Tower(nn.Sequential):
    """Convolutions of 3 × 3, each with its norm and ReLU, of one width.

    The norm is over all channels of an image (Wu and He, 2018, with one group), for batches have
    a few images.

    Parameters
    ----------
    width : int
        Of all maps.
    depth : int
        Number of convolutions.

    Raises
    ------
    ValueError
        If the depth is below 0.
    """

    def __init__(self, width: int, depth: int) -> None:
        if depth < 0:
            raise ValueError(f"the depth of a tower is {depth}; give 0 or more, such as 2")
        super().__init__(*(_normed(width, width) for _ in range(depth)))


def _normed(n_inputs: int, width: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_inputs, width, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(1, width),
        nn.ReLU(),
    )


def last_layer(width: int, n_outputs: int, *, is_score: bool = False) -> nn.Conv2d:
    """Make the convolution that a tower ends in; its outputs are near 0 at first.

    Parameters
    ----------
    width : int
        Of the tower.
    n_outputs : int
        Values of each cell.
    is_score : bool, default=False
        Whether they are scores of objects, before the sigmoid: at first all are unlikely.
    """
    layer = nn.Conv2d(width, n_outputs, 3, padding=1)
    nn.init.normal_(layer.weight, std=0.01)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, -math.log((1 - _PRIOR) / _PRIOR) if is_score else 0.0)
    return layer


def flattened(values: Tensor, n: int) -> Tensor:
    """Turn a map ``(B, A · n, H, W)`` into rows ``(B, H · W · A, n)``, cell by cell, in float32.

    Examples
    --------
    >>> import torch
    >>> flattened(torch.arange(8.0).reshape(1, 4, 1, 2), 2).tolist()
    [[[0.0, 2.0], [4.0, 6.0], [1.0, 3.0], [5.0, 7.0]]]
    """
    # Not by `len`, which would fix the batch of an exported graph.
    return values.permute(0, 2, 3, 1).reshape(values.shape[0], -1, n).float()
