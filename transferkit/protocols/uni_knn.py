"""The k-nearest-neighbour protocol of UNI."""

from __future__ import annotations

from dataclasses import dataclass

from transferkit.protocols import Geometry
from transferkit.protocols._neighbors import fit

__all__ = ["Protocol", "fit"]


@dataclass(frozen=True)
class UniKNN:
    """Equal votes of the 20 nearest, centred by the training mean and of length 1.

    References
    ----------
    Chen et al. (2024), "Towards a general-purpose foundation model for computational pathology".
    """

    geometry: Geometry = Geometry(224, 1.0, "center", "bilinear")
    feature: str = "pre_logits"
    shots: tuple[int, ...] = ()
    k: int = 20
    metric: str = "cosine"
    weights: str = "uniform"
    temperature: float = 1.0
    center: bool = True
    draws: bool = False


Protocol = UniKNN
