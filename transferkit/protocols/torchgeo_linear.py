"""Logistic regression of torchgeo-bench: 40 values of C on mean-pooled features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferkit.protocols import Geometry, Parts, Probe
from transferkit.protocols._logistic import TOL, selected

__all__ = ["Protocol", "fit"]


@dataclass(frozen=True)
class TorchGeoLinear:
    """The backbone's own geometry, the mean over the last map, C from 1e-6 to 1e4."""

    geometry: Geometry = Geometry()
    feature: str = "final.avg"
    shots: tuple[int, ...] = ()
    n_strengths: int = 40
    decades: tuple[int, int] = (-6, 4)
    share: float = 0.2
    max_iter: int = 4000
    tol: float = TOL
    draws: bool = True


Protocol = TorchGeoLinear


def fit(protocol: TorchGeoLinear, parts: Parts, seed: int = 0) -> Probe:
    """Choose on the validation part, else on a fifth of each class; refit on both."""
    Cs = np.logspace(*protocol.decades, protocol.n_strengths)
    return selected(
        parts,
        Cs,
        seed=seed,
        share=protocol.share,
        max_iter=protocol.max_iter,
        tol=protocol.tol,
    )
