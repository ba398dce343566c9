"""`AnomalyMethod`, the base class of all methods."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from transferkit.dense.anomaly._patches import Batches, Patches
from transferkit.maps import FeatureMaps

__all__ = ["AnomalyMethod", "Descriptors", "top_mean"]

Descriptors = Callable[[], Iterator[Tensor]]
"""Gives the descriptors ``(B, d, h, w)`` of all images, a batch at a time; may be called again."""


class AnomalyMethod(nn.Module):
    """A module that learns from maps of good images, without gradient.

    Everything that it has learnt stands in buffers, so `state_dict` saves it. What it computes
    from maps are plain operations of torch, so it can be exported.

    Parameters
    ----------
    dimensions : int or None
        Numbers of a patch's descriptor at most; see `Patches`.
    seed : int
        Of whatever it draws.

    Attributes
    ----------
    options : dict
        What makes the same method again, as JSON takes it.
    """

    learnt: ClassVar[tuple[str, ...]]
    """Names of the buffers, apart from those of the patches."""
    options: dict[str, Any]

    def __init__(self, dimensions: int | None, seed: int) -> None:
        super().__init__()
        self.patches = Patches(dimensions, seed)
        self.seed = seed

    @torch.no_grad()
    def fit(self, batches: Batches) -> Self:
        """Learn from maps of good images.

        Parameters
        ----------
        batches : callable
            Gives the maps of all images, a batch at a time, and is called two or three times.
            Only a batch of them needs to be in memory. All have one size.

        Raises
        ------
        ValueError
            If there are no images.
        """
        self.patches.fit(batches)
        self._learn(lambda: (self.patches(maps) for maps in batches()))
        return self

    @abstractmethod
    def _learn(self, descriptors: Descriptors) -> None:
        """Set the buffers from the descriptors of good images."""

    @abstractmethod
    def _check(self) -> None:
        """Raise a ValueError if the buffers that were restored don't fit one another."""

    def restore(self, tensors: Mapping[str, Tensor]) -> Self:
        """Take back what `state_dict` gave of a method that has learnt.

        Raises
        ------
        ValueError
            If the tensors aren't those of this method.
        """
        prefix = "patches."
        own = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
        if set(own) != set(self.learnt):
            raise ValueError(
                f"the method has learnt {sorted(own)[:6]}, where {sorted(self.learnt)} should be"
            )
        layers = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        self.patches.restore(layers)
        for name, tensor in own.items():
            if not tensor.is_floating_point() or not tensor.numel():
                raise ValueError(f"{name} holds no numbers; train it again")
            self.register_buffer(name, tensor.float())
        self._check()
        return self

    def forward(self, maps: FeatureMaps) -> tuple[Tensor, Tensor]:
        """Score images: the larger, the stranger.

        Parameters
        ----------
        maps : FeatureMaps
            Of the same layers as in `fit`, and of the same size.

        Returns
        -------
        (Tensor, Tensor)
            Scores of the patches, ``(B, h, w)``, and of the images, ``(B,)``. Who calls it
            resizes the former to the px that are wanted.
        """
        return self.scores(self.patches(maps))

    @abstractmethod
    def scores(self, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Do as `forward` from the descriptors ``(B, d, h, w)`` of the patches."""


def top_mean(scores: Tensor, share: float) -> Tensor:
    """Mean of an image's highest scores: those of a share of its patches, and one at least.

    Parameters
    ----------
    scores : Tensor of shape (B, h, w)
        Of the patches.
    share : float
        In [0, 1].
    """
    flat = scores.flatten(1)
    n = max(1, round(share * flat.shape[1]))
    return flat.topk(n, dim=1).values.mean(1)
