"""`AnomalyMethod`, the base class of all methods."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Self

from torch import Tensor, nn

from transferkit.maps import FeatureMaps

__all__ = ["AnomalyMethod"]


class AnomalyMethod(nn.Module):
    """A module that learns from maps of good images, without gradient.

    Everything that it has learnt stands in buffers, so `state_dict` saves it.
    """

    @abstractmethod
    def fit(self, batches: Callable[[], Iterator[FeatureMaps]]) -> Self:
        """Learn from maps of good images.

        Parameters
        ----------
        batches : callable
            Gives the maps of all images, a batch at a time, and may be called again. Only a
            batch of them needs to be in memory.
        """

    @abstractmethod
    def restore(self, tensors: Mapping[str, Tensor]) -> Self:
        """Take back what `state_dict` gave of a method that has learnt.

        Raises
        ------
        ValueError
            If the tensors aren't those of this method.
        """

    @abstractmethod
    def forward(self, maps: FeatureMaps) -> tuple[Tensor, Tensor]:
        """Score images: the larger, the stranger.

        Returns
        -------
        (Tensor, Tensor)
            Scores of the pixels, ``(B, h, w)`` at the finest level's size, and of the images,
            ``(B,)``.
        """
