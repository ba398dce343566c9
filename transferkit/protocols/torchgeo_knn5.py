"""The k-nearest-neighbour protocol of torchgeo-bench."""

from __future__ import annotations

from dataclasses import dataclass

from transferkit.protocols import Geometry
from transferkit.protocols._neighbors import fit

__all__ = ["Protocol", "fit"]


@dataclass(frozen=True)
class TorchGeoKNN5:
    """Equal votes of the five nearest by Euclidean distance.

    References
    ----------
    torchgeo-bench's published configuration.
    """

    geometry: Geometry = Geometry()
    feature: str = "final.avg"
    shots: tuple[int, ...] = ()
    k: int = 5
    metric: str = "l2"
    weights: str = "uniform"
    temperature: float = 1.0
    center: bool = False
    draws: bool = False


Protocol = TorchGeoKNN5
