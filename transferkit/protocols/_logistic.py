"""Logistic regression as the protocols select it: walk a path, score each model, refit the best."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.metrics import mean_average_precision_11
from transferkit.protocols import Parts, Probe
from transferkit.solvers.linear import LinearFit, LinearProblems
from transferkit.solvers.rows import KnownSpectrum
from transferkit.solvers.selection import Candidate, best, walk_path
from transferkit.solvers.statistics import FeatureStatistics

__all__ = ["TOL", "StrengthSearch", "refit", "selected", "validation_score"]

Array = NDArray[Any]
# Bound on the gradient of the mean loss at which the solver stops, tighter than the publications'.
TOL = 1e-6


def validation_score(scores: Array, y: Array) -> float:
    """Accuracy or, for several labels, the mean 11-point average precision."""
    if y.ndim == 2:
        return mean_average_precision_11(y, scores)
    return float((scores.argmax(axis=1) == y).mean())


class StrengthSearch:
    """Models at the strengths tried so far, scored on held-out rows.

    Parameters
    ----------
    train, held : (ndarray, ndarray)
        Features and targets.
    max_iter, tol : int, float
        Of one fit.
    statistics : FeatureStatistics
        Of both parts together, or of more rows of the same kind.

    Attributes
    ----------
    tried : list of Candidate
        Along ascending C. The loss is the negative `validation_score`, the details are the
        scores of the held-out rows, a column per class.
    """

    def __init__(
        self,
        train: tuple[Array, Array],
        held: tuple[Array, Array],
        max_iter: int,
        tol: float,
        statistics: FeatureStatistics,
    ) -> None:
        self.problems = LinearProblems.logistic(
            [(train[0], None)], train[1], standardize=False, spectrum=_spectrum(statistics)
        )
        self.held, self.max_iter, self.tol = held, max_iter, tol
        self.tried: list[Candidate] = []

    def walk(self, Cs: Array) -> None:
        """Fit at each strength that hasn't been tried, along ascending C."""
        known = {candidate.C for candidate in self.tried}
        new = np.array([C for C in np.unique(Cs) if float(C) not in known])
        if not len(new):
            return
        rows = [(self.held[0], None)]
        path = self.problems.path(new, rows, tol=self.tol, max_iter=self.max_iter)
        self.tried += walk_path(path, self._judge)
        self.tried.sort(key=lambda candidate: candidate.C)

    def best(self) -> Candidate:
        """The best score. Of equal scores the one of the largest C, the first as λ = 1/C rises."""
        return best(self.tried, prefer_large=True)

    def _judge(self, model: tuple[float, LinearFit, Array]) -> Candidate:
        C, _, scores = model
        y = self.held[1]
        columns = score_columns(scores, y)
        return Candidate(C, -validation_score(columns, y), columns)


def score_columns(scores: Array, y: Array) -> Array:
    """Make two columns for two classes, for which the solver gives one score."""
    scores = scores.reshape(len(scores), -1)
    if y.ndim == 1 and scores.shape[1] == 1:
        return np.concatenate([np.zeros_like(scores), scores], axis=1)
    return scores


def _spectrum(statistics: FeatureStatistics) -> KnownSpectrum:
    """Spectrum of the features as they are, computed only if the solver needs it."""
    return partial(statistics.spectrum, standardize=False)


def refit(parts: Parts, C: float, max_iter: int, tol: float, **about: Any) -> Probe:
    """Fit on all rows at one strength, as a probe."""
    X, y = parts.merged()
    problems = LinearProblems.logistic(
        [(X, None)], y, standardize=False, spectrum=_spectrum(parts.statistics)
    )
    fit: LinearFit = problems.solve(C, tol=tol, max_iter=max_iter)

    def scores(rows: Array) -> Array:
        return score_columns(rows @ fit.coef.T + fit.intercept, y)

    chosen = {"C": float(C), "n_iter": int(fit.n_iter), **about.pop("chosen", {})}
    return Probe(scores, chosen, converged=bool(fit.converged.all()), **about)


def selected(
    parts: Parts,
    Cs: Array,
    *,
    seed: int,
    share: float,
    max_iter: int,
    tol: float,
    held: Array | None = None,
) -> Probe:
    """Choose C on the validation part, or on a share of the training rows, and refit on both."""
    train, validation = parts.divided(share, seed, held)
    search = StrengthSearch(train, validation, max_iter, tol, parts.statistics)
    search.walk(Cs)
    chosen = search.best()
    return refit(
        parts,
        chosen.C,
        max_iter,
        tol,
        chosen={"validation_score": -chosen.loss},
        on_edge=chosen.C in (search.tried[0].C, search.tried[-1].C),
        held=(chosen.details, validation[1]),
    )
