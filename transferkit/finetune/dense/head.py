"""`MapsHead` puts a neck and a head on a backbone's body."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from transferkit.dense.network import SegmentationNetwork
from transferkit.maps import FeatureMaps
from transferkit.pooling import parse_feature, pool

__all__ = ["MapsHead"]


class MapsHead(nn.Module):
    """A neck and a head on the maps that a body gives, in place of stored rows.

    Parameters
    ----------
    dense : SegmentationNetwork
        Neck and head.
    features : sequence of str
        Names of the maps that it takes, in its levels' order, such as ``"stage1.map"``.
    """

    def __init__(self, dense: SegmentationNetwork, features: Sequence[str]) -> None:
        super().__init__()
        self.dense = dense
        self.features = [parse_feature(name) for name in features]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that the backbone has to return."""
        return tuple(feature.source for feature in self.features)

    def forward(self, maps: FeatureMaps) -> Tensor:
        """Scores of the classes ``(B, n_classes, h, w)``.

        Parameters
        ----------
        maps : FeatureMaps
            With `layers` among them.
        """
        scores = self.dense([pool(maps, feature) for feature in self.features])
        assert isinstance(scores, Tensor)
        return scores
