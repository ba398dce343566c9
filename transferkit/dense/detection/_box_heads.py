"""Box heads: from the features of a region to a vector."""

from __future__ import annotations

from torch import nn

from transferkit.registry import unknown

__all__ = ["BOX_HEADS", "create_box_head"]

BOX_HEADS = ("conv", "fc")
"""Names of the box heads."""


def create_box_head(name: str, channels: int, cells: int, width: int) -> nn.Sequential:
    """Make a box head, with random weights.

    Parameters
    ----------
    name : {"fc", "conv"}
        Two fully connected layers; or two convolutions with a norm, then one fully connected
        layer.
    channels : int
        Width of the features.
    cells : int
        Height and width of the features.
    width : int
        Of the vector.

    Returns
    -------
    nn.Sequential
        From features ``(n, channels, cells, cells)`` to ``(n, width)``.

    References
    ----------
    ``fc``: Lin et al. (2017), "Feature pyramid networks for object detection", section 4.2.
    ``conv``: Wu, He (2018), "Group normalization", section 4.2.
    """
    if name == "fc":
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * cells**2, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
        )
    if name == "conv":
        convolutions = [
            layer
            for _ in range(2)
            for layer in (
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.GroupNorm(1, channels),
                nn.ReLU(),
            )
        ]
        return nn.Sequential(
            *convolutions, nn.Flatten(), nn.Linear(channels * cells**2, width), nn.ReLU()
        )
    raise unknown("box head", name, BOX_HEADS)
