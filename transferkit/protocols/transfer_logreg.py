"""Logistic regression over 45 strengths (Kornblith et al. 2019; Ericsson et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferkit.protocols import Geometry, Parts, Probe
from transferkit.protocols._logistic import TOL, selected

__all__ = ["Protocol", "fit"]


@dataclass(frozen=True)
class TransferLogisticRegression:
    """Shorter side to 224 px, bicubic; no normalisation; 45 penalties λ from 1e-6 to 1e5.

    References
    ----------
    Kornblith, Shlens, Le (2019), "Do better ImageNet models transfer better?"; Ericsson, Gouk,
    Hospedales (2021), "How well do self-supervised models transfer?", with BYOL's 5,000
    iterations.
    """

    geometry: Geometry = Geometry(224, 1.0, "center", "bicubic")
    feature: str = "pre_logits"
    shots: tuple[int, ...] = ()
    n_penalties: int = 45
    decades: tuple[int, int] = (-6, 5)
    share: float = 0.2
    max_iter: int = 5000
    tol: float = TOL
    draws: bool = True


Protocol = TransferLogisticRegression


def fit(protocol: TransferLogisticRegression, parts: Parts, seed: int = 0) -> Probe:
    """Choose on the validation part, else on a fifth of each class; refit on both."""
    Cs = 1 / np.logspace(*protocol.decades, protocol.n_penalties)
    return selected(
        parts, Cs, seed=seed, share=protocol.share, max_iter=protocol.max_iter, tol=protocol.tol
    )
