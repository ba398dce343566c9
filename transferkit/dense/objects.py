"""`ObjectHead`, the base class of the heads that find objects, and what they take and give."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor

from transferkit.dense.head import PyramidHead
from transferkit.maps import FeatureMaps

__all__ = ["Candidates", "ObjectHead", "Target", "joined_targets"]


class Target(TypedDict):
    """The true objects of one image.

    ``boxes`` are float32 ``(m, 4)``: left, top, right and bottom edge, px of the network's input.
    ``labels`` are int64 ``(m,)``: classes from 1, or `transferkit.annotations.VOID` for an object
    that is ignored, which is neither learnt nor background. Tasks have further keys.
    """

    boxes: Tensor
    labels: Tensor


def joined_targets(targets: Sequence[Any]) -> Any:
    """The objects of several targets of one input, as one target.

    Parameters
    ----------
    targets : sequence of Target
        With the same keys.
    """
    return {name: torch.cat([target[name] for target in targets]) for name in targets[0]}


class Candidates(NamedTuple):
    """Boxes of a batch before those that say the same are suppressed.

    How many there are, n, follows from the sizes of the maps alone.

    Parameters
    ----------
    boxes : Tensor of shape (B, n, 4)
        Left, top, right and bottom edge, px of the network's input, cut off at its edges; or
        oriented boxes ``(B, n, 5)``, see `transferkit.images.oriented`.
    scores : Tensor of shape (B, n)
        From 0 to 1; 0 for a box that stands for none.
    labels : Tensor of shape (B, n)
        int64, classes from 1.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class ObjectHead(PyramidHead):
    """A module from `FeatureMaps` to a loss, to candidates, or to what is detected.

    A level's cell i along an axis of n input px and m cells has its centre at
    ``i * stride + (n - (m - 1) * stride) / 2``: strides are those that it was made for, which
    needn't be whole, and not n / m.

    Parameters
    ----------
    channels : sequence of int
        Width of each level that it is given, fine to coarse.
    strides : sequence of float
        Nominal stride of each, px of the network's input.
    n_classes : int
        Number of classes, the background among them as number 0.

    Raises
    ------
    ValueError
        If there are no levels, not one width and one stride for each, or no class but the
        background.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[float], n_classes: int) -> None:
        super().__init__(channels, strides, n_classes)
        if n_classes < 2:
            raise ValueError(
                f"n_classes is {n_classes}; give 2 or more, the background is one of them"
            )

    @abstractmethod
    def loss(self, maps: FeatureMaps, size: tuple[int, int], targets: Sequence[Any]) -> Tensor:
        """Mean loss of a batch, a float32 scalar with gradient; finite without any object too.

        Parameters
        ----------
        maps : FeatureMaps
            The levels that it was made for.
        size : (int, int)
            Height and width of the network's input, px.
        targets : sequence of Target
            One per image.
        """

    @abstractmethod
    def candidates(self, maps: FeatureMaps, size: tuple[int, int]) -> Candidates:
        """What it sees, before suppression.

        Everything is computed in tensors of fixed shape, whatever is on the images, so that it
        can be exported; for a batch at once, image by image the same.

        Parameters
        ----------
        maps, size
            As for `loss`.
        """

    @abstractmethod
    def detected(self, maps: FeatureMaps, size: tuple[int, int], rule: Any) -> Any:
        """What stays after suppression, in tensors of fixed shape, ``rule.limit`` of each image.

        Parameters
        ----------
        maps, size
            As for `loss`.
        rule : Suppression
            How objects that say the same are suppressed.
        """
