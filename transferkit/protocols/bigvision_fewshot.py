"""Few-shot ridge regression of big_vision: standardised features, one fixed penalty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferkit.protocols import Array, Geometry, Parts, Probe

__all__ = ["Protocol", "fit"]


@dataclass(frozen=True)
class BigVisionFewShot:
    """Image squashed to 256 px, its centre 224; targets ±1; λ = 1024, the bias a constant 100.

    References
    ----------
    Kolesnikov et al. (2020), "Big transfer (BiT)"; big_vision's ``fewshot_lsr``.
    """

    geometry: Geometry = Geometry(224, 224 / 256, "squash", "bilinear")
    feature: str = "pre_logits"
    shots: tuple[int, ...] = (1, 5, 10, 25)
    penalty: float = 1024.0
    bias: float = 100.0
    epsilon: float = 1e-5
    draws: bool = False


Protocol = BigVisionFewShot


def fit(protocol: BigVisionFewShot, parts: Parts, seed: int = 0) -> Probe:
    """Solve in closed form, through the smaller of the two Gram matrices."""
    X = parts.X.astype(np.float64)
    mean, scale = X.mean(axis=0), X.std(axis=0) + protocol.epsilon

    def placed(rows: Array) -> Array:
        rows = (rows.astype(np.float64) - mean) / scale
        return np.pad(rows, ((0, 0), (0, 1)), constant_values=protocol.bias)

    A = placed(parts.X)
    Y = 2.0 * (parts.y if parts.y.ndim == 2 else np.eye(parts.n_classes)[parts.y]) - 1
    n, d = A.shape
    if n < d:
        W = A.T @ np.linalg.solve(A @ A.T + protocol.penalty * np.eye(n), Y)
    else:
        W = np.linalg.solve(A.T @ A + protocol.penalty * np.eye(d), A.T @ Y)
    chosen = {"penalty": protocol.penalty}
    return Probe(lambda rows: placed(rows) @ W, chosen, has_probabilities=False)
