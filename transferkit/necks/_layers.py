"""The layers that necks are made of."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate

__all__ = ["NormedConv", "check_width", "resized", "step_of"]


class NormedConv(nn.Sequential):
    """A convolution that keeps the size, or divides it by `stride`, and a norm.

    The norm is over all channels of an image, not over a batch: heads are trained with batches
    of a few images.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Widths.
    kernel : int, default=1
        Odd, px.
    stride : int, default=1
        Input px per output px.
    groups : int, default=1
        Groups of channels that don't see one another.
    """

    def __init__(
        self, n_inputs: int, n_outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(
                n_inputs,
                n_outputs,
                kernel,
                stride=stride,
                padding=kernel // 2,
                groups=groups,
                bias=False,  # the norm has one
            ),
            nn.GroupNorm(1, n_outputs),
        )


def resized(level: Tensor, like: Tensor) -> Tensor:
    """Repeat or drop px until a level has the size of another.

    The target is the other level's size and not a multiple of the own: of 29 px the next level
    has 14 or 15, and networks differ in which.
    """
    if level.shape[-2:] == like.shape[-2:]:
        return level
    return interpolate(level, like.shape[-2:], mode="nearest")


def step_of(strides: Sequence[float], level: int) -> int:
    """Whole px of a level per px of the next; 1 between levels of one stride.

    Examples
    --------
    >>> step_of([3.5, 7, 7, 28], 0), step_of([3.5, 7, 7, 28], 1), step_of([3.5, 7, 7, 28], 2)
    (2, 1, 4)
    """
    return max(1, round(strides[level + 1] / strides[level]))


def check_width(width: int) -> int:
    """Refuse a width that no layer can have."""
    if width < 1:
        raise ValueError(f"the width of a neck is {width}; give 1 or more, such as 64")
    return width
