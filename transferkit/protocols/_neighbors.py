"""A probe that lets the nearest training rows vote."""

from __future__ import annotations

from typing import Any

import numpy as np

from transferkit.heads.knn import KNNClassifier
from transferkit.protocols import Array, Parts, Probe

__all__ = ["fit"]

# Of a protocol, as the head takes them.
SETTINGS = ("k", "metric", "weights", "temperature", "center")
# A class without votes has probability 0, whose logarithm has to stay finite.
SMALLEST = 1e-12


def fit(protocol: Any, parts: Parts, seed: int = 0) -> Probe:
    """Keep the training rows; nothing is chosen, and the validation part is not used.

    The scores are logarithms of the shares of votes.
    """
    settings = {name: getattr(protocol, name) for name in SETTINGS}
    head = KNNClassifier(**settings).fit(parts.X, parts.y)

    def scores(rows: Array) -> Array:
        share = head.predict_proba(rows).astype(np.float64)
        if parts.y.ndim == 2:  # the sigmoid has to give the share back
            share = np.clip(share, SMALLEST, 1 - SMALLEST)
            return np.log(share) - np.log1p(-share)
        return np.log(np.maximum(share, SMALLEST))

    return Probe(scores, {**settings, "k": int(head.k_)})
