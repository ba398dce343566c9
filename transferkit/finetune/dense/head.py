"""`MapsHead` puts a neck and a head on a backbone's body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.dense.network import DenseNetwork
from transferkit.maps import FeatureMaps
from transferkit.pooling import parse_feature, pool

__all__ = ["MapsHead"]


class MapsHead(nn.Module):
    """A neck and a head on the maps that a body gives, in place of stored rows.

    Parameters
    ----------
    dense : DenseNetwork
        Neck and head.
    features : sequence of str
        Names of the maps that it takes, in its levels' order, such as ``"stage1.map"``.
    """

    def __init__(self, dense: DenseNetwork, features: Sequence[str]) -> None:
        super().__init__()
        self.dense = dense
        self.features = [parse_feature(name) for name in features]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that the backbone has to return."""
        return tuple(feature.source for feature in self.features)

    def forward(self, maps: FeatureMaps, *others: Any) -> Any:
        """What neck and head make of the maps.

        Parameters
        ----------
        maps : FeatureMaps
            With `layers` among them.
        *others
            What the network takes beside its levels, such as the size and the targets.
        """
        return self.dense(self._levels(maps), *others)

    def reach(self, maps: FeatureMaps) -> Tensor:
        """A number that depends on everything that is taken of a body.

        Parameters
        ----------
        maps : FeatureMaps
            With `layers` among them.
        """
        return torch.stack([level.sum() for level in self._levels(maps)]).sum()

    def _levels(self, maps: FeatureMaps) -> list[Tensor]:
        return [pool(maps, feature) for feature in self.features]
