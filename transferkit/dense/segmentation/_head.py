"""`SegmentationHead`, the base class of all segmentation heads."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from transferkit.dense.head import PyramidHead
from transferkit.maps import FeatureMaps

__all__ = ["SegmentationHead"]


class SegmentationHead(PyramidHead):
    """A module from `FeatureMaps` to scores of classes.

    Parameters
    ----------
    channels : sequence of int
        Width of each level that it is given, fine to coarse.
    strides : sequence of float
        Nominal stride of each, px of the network's input.
    n_classes : int
        Number of classes.

    Raises
    ------
    ValueError
        If there are no levels, or not one width and one stride for each.
    """

    @abstractmethod
    def forward(self, maps: FeatureMaps) -> Tensor:
        """Scores ``(B, n_classes, h, w)``, before softmax, at the finest level's size or finer.

        Who calls it resizes them to the px that are wanted.
        """
