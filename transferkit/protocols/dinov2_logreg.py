"""Logistic regression of DINOv2: 45 values of C, 10 % of the training rows to choose by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferkit.protocols import Geometry, Parts, Probe
from transferkit.protocols._logistic import TOL, selected

__all__ = ["Protocol", "fit"]


@dataclass(frozen=True)
class Dinov2LogisticRegression:
    """Class token (``pre_logits`` of DINO's networks), 224 px without margin, float64.

    References
    ----------
    Oquab et al. (2024), "DINOv2: learning robust visual features without supervision".
    """

    geometry: Geometry = Geometry(224, 1.0, "center", "bicubic")
    feature: str = "pre_logits"
    shots: tuple[int, ...] = ()
    n_strengths: int = 45
    decades: tuple[int, int] = (-6, 5)
    share: float = 0.1
    max_iter: int = 1000
    tol: float = TOL
    draws: bool = True


Protocol = Dinov2LogisticRegression


def fit(protocol: Dinov2LogisticRegression, parts: Parts, seed: int = 0) -> Probe:
    """Choose on the validation part, else on a tenth of all rows; refit on both."""
    wide = Parts(
        parts.X.astype(np.float64),
        parts.y,
        None
        if parts.validation is None
        else (parts.validation[0].astype(np.float64), parts.validation[1]),
    )
    Cs = np.logspace(*protocol.decades, protocol.n_strengths)
    held = np.zeros(len(parts.y), bool)
    n = max(1, round(protocol.share * len(held)))
    held[np.random.default_rng(seed).permutation(len(held))[:n]] = True
    if parts.y.ndim == 1:  # a class must not vanish from the training rows
        for c in np.setdiff1d(parts.y, parts.y[~held]):
            held[np.flatnonzero(parts.y == c)[0]] = False
    return selected(
        wide,
        Cs,
        seed=seed,
        share=protocol.share,
        max_iter=protocol.max_iter,
        tol=protocol.tol,
        held=held,
    )
