"""Layers that several segmentation heads are made of."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate

__all__ = ["classifier", "conv_norm", "resized"]


def conv_norm(n_inputs: int, width: int, size: int = 3) -> nn.Sequential:
    """Make a convolution that keeps the map's size, with its norm and ReLU.

    The norm is over all channels and px of one image (Ba et al., 2016; Wu and He, 2018, with
    one group), because a batch of one image is common here and a batch norm learns nothing of
    use from it. It is the same in training and afterwards.

    Parameters
    ----------
    n_inputs : int
        Width of the map that it is given.
    width : int
        Width of the map that it returns.
    size : int, default=3
        Height and width of the kernel, map px; odd.
    """
    return nn.Sequential(
        nn.Conv2d(n_inputs, width, size, padding=size // 2, bias=False),
        nn.GroupNorm(1, width),
        nn.ReLU(),
    )


def classifier(width: int, n_classes: int, dropout: float) -> nn.Sequential:
    """Make the last layer: whole channels are left out at random, then one linear layer a px.

    Parameters
    ----------
    width : int
        Width of the map that it is given.
    n_classes : int
        Number of classes.
    dropout : float
        Share of the channels that are left out while training, from 0 to below 1.

    Raises
    ------
    ValueError
        If no head can have this width or this share.
    """
    if width < 2:  # a norm over one value is 0, whatever the value
        raise ValueError(f"the width of a head is {width}; give 2 or more, such as 64")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; give 0 to below 1")
    return nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(width, n_classes, 1))


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Resize maps bilinearly, or return them as they are if they have this size.

    Parameters
    ----------
    maps : Tensor of shape (B, D, H, W)
        Maps.
    size : (int, int)
        Height and width wanted, map px.
    """
    if maps.shape[-2:] == tuple(size):
        return maps
    return interpolate(maps, tuple(size), mode="bilinear", align_corners=False)
