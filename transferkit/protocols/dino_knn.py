"""The k-nearest-neighbour protocol of DINO."""

from __future__ import annotations

from dataclasses import dataclass

from transferkit.protocols import Geometry
from transferkit.protocols._neighbors import fit

__all__ = ["KS", "Protocol", "fit"]

KS = (10, 20, 100, 200)
"""The published numbers of neighbours; one of them stands in the name."""


@dataclass(frozen=True)
class DinoKNN:
    """Votes of the k nearest by cosine, weighted by a softmax at temperature 0.07.

    References
    ----------
    Caron et al. (2021), "Emerging properties in self-supervised vision transformers".
    """

    geometry: Geometry = Geometry(224, 224 / 256, "center", "bicubic")
    feature: str = "pre_logits"
    shots: tuple[int, ...] = ()
    k: int = 20
    metric: str = "cosine"
    weights: str = "softmax"
    temperature: float = 0.07
    center: bool = False
    draws: bool = False


Protocol = DinoKNN
