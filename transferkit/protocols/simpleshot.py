"""SimpleShot: the nearest class mean of centred features of length 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferkit.protocols import Array, Geometry, Parts, Probe

__all__ = ["Protocol", "fit"]


@dataclass(frozen=True)
class SimpleShot:
    """The backbone's own geometry; nothing is chosen.

    References
    ----------
    Wang, Chao, Weinberger, van der Maaten (2019), "SimpleShot: revisiting nearest-neighbor
    classification for few-shot learning", section 3.
    """

    geometry: Geometry = Geometry()
    feature: str = "pre_logits"
    shots: tuple[int, ...] = (1, 5)
    draws: bool = False


Protocol = SimpleShot


def fit(protocol: SimpleShot, parts: Parts, seed: int = 0) -> Probe:
    """Take the means; scores are negative squared distances."""
    if parts.y.ndim == 2:
        raise ValueError("simpleshot is for one label per image; use vissl-svm for several")
    mean = parts.X.mean(axis=0, dtype=np.float64)

    def placed(rows: Array) -> Array:
        centred = rows.astype(np.float64) - mean
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        return np.asarray(centred / np.where(length > 0, length, 1))

    Z = placed(parts.X)
    centres = np.stack([Z[parts.y == c].mean(axis=0) for c in range(parts.n_classes)])
    squared = (centres**2).sum(axis=1)
    return Probe(
        lambda rows: 2 * placed(rows) @ centres.T - squared - 1, {}, has_probabilities=False
    )
