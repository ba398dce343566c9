"""A probe that lets the nearest training rows vote."""

from __future__ import annotations

from typing import Any

import numpy as np

from transferkit.heads.knn import KNNClassifier
from transferkit.protocols import Array, Parts, Probe

__all__ = ["voting"]

# A class without votes has probability 0, whose logarithm has to stay finite.
SMALLEST = 1e-12


def voting(parts: Parts, **settings: Any) -> Probe:
    """Make a probe of the training rows. Its scores are logarithms of the shares of votes."""
    head = KNNClassifier(**settings).fit(parts.X, parts.y)

    def scores(rows: Array) -> Array:
        share = head.predict_proba(rows).astype(np.float64)
        if parts.y.ndim == 2:  # the sigmoid has to give the share back
            share = np.clip(share, SMALLEST, 1 - SMALLEST)
            return np.log(share) - np.log1p(-share)
        return np.log(np.maximum(share, SMALLEST))

    return Probe(scores, {**settings, "k": int(head.k_)})
