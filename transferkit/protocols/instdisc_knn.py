"""The k-nearest-neighbour protocol of instance discrimination."""

from __future__ import annotations

from dataclasses import dataclass

from transferkit.protocols import Geometry
from transferkit.protocols._neighbors import fit

__all__ = ["Protocol", "fit"]


@dataclass(frozen=True)
class InstDiscKNN:
    """Votes of the 200 nearest by cosine, weighted by a softmax at temperature 0.1.

    References
    ----------
    Wu et al. (2018), "Unsupervised feature learning via non-parametric instance discrimination".
    """

    geometry: Geometry = Geometry(224, 224 / 256, "center", "bilinear")
    feature: str = "pre_logits"
    shots: tuple[int, ...] = ()
    k: int = 200
    metric: str = "cosine"
    weights: str = "softmax"
    temperature: float = 0.1
    center: bool = False
    draws: bool = False


Protocol = InstDiscKNN
