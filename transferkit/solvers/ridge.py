"""Ridge regression at many strengths, from one eigendecomposition.

With rows scaled by the square root of their weight, A the centred and scaled features
and T the centred targets, the coefficients at strength a are ``(A'A + a)^-1 A'T``. With
the eigenvectors V and eigenvalues s of A'A they are ``V ((V'A'T) / (s + a))``, so one
decomposition serves every a. Where there are fewer rows than features the eigenvectors
come from AA', which has the same eigenvalues.

Leaving out row i changes its residual e to ``e / (1 - h)``, h being its leverage: with
``P = AV``, ``h = sum(P² / (s + a)) + weight / sum(weights)``, the last term for the
intercept (Allen 1974, PRESS; Rifkin and Lippert 2007, "Notes on regularized least
squares", section 3). So the leave-one-out error of every a costs one pass over the rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.solvers.statistics import FeatureStatistics

__all__ = ["RidgeSolution", "solve"]

Array = NDArray[Any]
TargetsOf = Callable[[slice], Array]
BLOCK = 4096  # rows held in float64 at once


@dataclass(frozen=True, eq=False)
class RidgeSolution:
    """Coefficients at the strength with the smallest leave-one-out error.

    Parameters
    ----------
    coef : ndarray of shape (n_outputs, n_features)
        On the features as given.
    intercept : ndarray of shape (n_outputs,)
        The intercepts.
    mean : ndarray of shape (n_features,)
        Of the features.
    alpha : float
        The strength.
    errors : ndarray of shape (n_alphas,)
        Leave-one-out mean squared error over the target's variance, averaged over the
        outputs; empty for a single strength.
    """

    coef: Array
    intercept: Array
    mean: Array
    alpha: float
    errors: Array


def solve(
    statistics: FeatureStatistics, targets: TargetsOf, alphas: Array, *, standardize: bool
) -> RidgeSolution:
    """Minimise ``sum(weight * (Y - X coef' - intercept)²) + alpha * ||coef||²``.

    Parameters
    ----------
    statistics : FeatureStatistics
        Of the features X and the samples' weights; computed on in float64, a block of rows
        at a time.
    targets : callable
        Some rows, as a slice → their targets Y, of shape (n_rows, n_outputs): a column for each
        of many classes would take more memory than the features.
    alphas : ndarray of shape (n_alphas,)
        Strengths, on the standardised features; the first of equally good ones wins.
    standardize : bool
        Whether features are brought to variance 1 first.
    """
    weight = statistics.sample_weight
    w = np.ones(len(statistics.X)) if weight is None else weight.astype(np.float64)
    mean = statistics.mean
    scale = statistics.scale if standardize else np.ones_like(mean)
    # A constant feature gets no coefficient, even if rounding of its mean leaves a residue.
    scale = np.where(statistics.is_constant, np.inf, scale)
    rows = _WeightedRows(statistics.X, w, mean, scale, targets)
    s, V, AT = _decomposed(rows, statistics, standardize=standardize)
    VAT = V.T @ AT
    errors, best = np.zeros(0), 0
    if len(alphas) > 1:
        errors = _leave_one_out_errors(rows, s, V, VAT, alphas)
        best = int(np.argmin(errors))
    coef = (V @ (VAT / (s + alphas[best])[:, None])).T / scale
    return RidgeSolution(coef, rows.target_mean - coef @ mean, mean, float(alphas[best]), errors)


class _WeightedRows:
    """The matrices A and T above, made a block at a time: centred, scaled, and weighted.

    Parameters
    ----------
    X, weight, mean, scale, targets
        As in `solve`.

    Attributes
    ----------
    target_mean, target_squares : ndarray of shape (n_outputs,)
        Weighted mean of the targets, and the sum of the squares of each column of T.
    """

    def __init__(
        self, X: Any, weight: Array, mean: Array, scale: Array, targets: TargetsOf
    ) -> None:
        self.X, self.weight, self.mean, self.scale, self.targets = X, weight, mean, scale, targets
        n_outputs = targets(slice(0, 1)).shape[1]
        total, squares = np.zeros(n_outputs), np.zeros(n_outputs)
        for part in self._parts():
            total += weight[part] @ targets(part)
        self.target_mean = total / weight.sum()
        for part in self._parts():
            squares += weight[part] @ (targets(part) - self.target_mean) ** 2
        self.target_squares = squares

    def __iter__(self) -> Iterator[tuple[slice, Array, Array]]:
        for part in self._parts():
            root = np.sqrt(self.weight[part])[:, None]
            scaled = (np.asarray(self.X[part]) - self.mean) / self.scale
            yield part, root * scaled, root * (self.targets(part) - self.target_mean)

    def _parts(self) -> Iterator[slice]:
        for first in range(0, len(self.X), BLOCK):
            yield slice(first, min(first + BLOCK, len(self.X)))


def _decomposed(
    rows: _WeightedRows, statistics: FeatureStatistics, *, standardize: bool
) -> tuple[Array, Array, Array]:
    """Eigenvalues s and eigenvectors V of A'A, and A'T."""
    n, d = rows.X.shape
    if n > d:
        s, V = statistics.spectrum(standardize=standardize)
        s = s * rows.weight.sum()
        AT = np.zeros((d, len(rows.target_mean)))
        for _, A, T in rows:
            AT += A.T @ T
    else:
        A, T = (np.concatenate(each) for each in zip(*((a, t) for _, a, t in rows), strict=True))
        s, U = np.linalg.eigh(A @ A.T)
        positive = s > s[-1] * n * np.finfo(float).eps
        s, V = s[positive], (A.T @ U[:, positive]) / np.sqrt(s[positive])
        AT = A.T @ T
    return np.maximum(s, 0), V, AT


def _leave_one_out_errors(
    rows: _WeightedRows, s: Array, V: Array, VAT: Array, alphas: Array
) -> Array:
    """Mean squared error of each strength over the targets' variance."""
    w, errors = rows.weight, np.zeros(len(alphas))
    variance = np.where(rows.target_squares == 0, 1, rows.target_squares)
    inverse = 1 / (s[:, None] + alphas)  # (d, n_alphas)
    for part, A, T in rows:
        P = A @ V
        kept = 1 - (P**2 @ inverse + (w[part] / w.sum())[:, None])  # 1 - h
        kept = np.maximum(kept, 1e-10)  # a row that alone decides its own prediction
        for j in range(len(alphas)):
            left_out = (T - P @ (VAT * inverse[:, j : j + 1])) / kept[:, j : j + 1]
            errors[j] += (left_out**2 / variance).sum()
    return np.asarray(errors / len(variance))
