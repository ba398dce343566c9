"""Logistic regression of CLIP: seven strengths first, then ever finer steps around the best."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from transferkit.protocols import Geometry, Parts, Probe
from transferkit.protocols._logistic import TOL, StrengthSearch, refit

__all__ = ["Protocol", "fit"]


@dataclass(frozen=True)
class ClipLinearProbe:
    """Features before the projection, 224 px without margin; λ on 96 values, 1e-6 to 1e6.

    References
    ----------
    Radford et al. (2021), "Learning transferable visual models from natural language
    supervision", appendix A.3.
    """

    geometry: Geometry = Geometry(224, 1.0, "center", "bicubic")
    feature: str = "pre_logits"
    shots: tuple[int, ...] = ()
    per_decade: int = 8
    decades: int = 6
    first_step: int = 2
    share: float = 0.2
    max_iter: int = 1000
    tol: float = TOL
    draws: bool = True


Protocol = ClipLinearProbe


def fit(protocol: ClipLinearProbe, parts: Parts, seed: int = 0) -> Probe:
    """Search C as published, and refit on training and validation rows."""
    train, validation = parts.divided(protocol.share, seed)
    search = StrengthSearch(train, validation, protocol.max_iter, protocol.tol, parts.statistics)
    # Positions on a grid of 8 steps per decade; the first ones are two decades apart.
    step = protocol.first_step * protocol.per_decade
    ends = protocol.decades * protocol.per_decade
    search.walk(_strengths(set(range(-ends, ends + 1, step)), protocol))
    while step > 1:
        step //= 2
        peak = _position(search.best().C, protocol)
        near = {p for p in (peak - step, peak + step) if -ends <= p <= ends}
        search.walk(_strengths(near, protocol))
    chosen = search.best()
    return refit(
        parts,
        chosen.C,
        protocol.max_iter,
        protocol.tol,
        chosen={"validation_score": -chosen.loss, "n_tried": len(search.tried)},
        on_edge=abs(_position(chosen.C, protocol)) == ends,
        held=(chosen.details, validation[1]),
    )


def _position(C: float, protocol: ClipLinearProbe) -> int:
    return round(-math.log10(C) * protocol.per_decade)


def _strengths(positions: set[int], protocol: ClipLinearProbe) -> np.ndarray:
    return np.array([10.0 ** (-p / protocol.per_decade) for p in sorted(positions)])
