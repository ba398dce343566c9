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

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.solvers.statistics import FeatureStatistics

__all__ = ["Solution", "solve"]

Array = NDArray[Any]
BLOCK = 4096  # rows held in float64 at once


@dataclass(frozen=True, eq=False)
class Solution:
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


def solve(statistics: FeatureStatistics, Y: Array, alphas: Array, *, standardize: bool) -> Solution:
    """Minimise ``sum(weight * (Y - X coef' - intercept)²) + alpha * ||coef||²``.

    Parameters
    ----------
    statistics : FeatureStatistics
        Of the features X and the samples' weights; computed on in float64, a block of rows
        at a time.
    Y : ndarray of shape (n_samples, n_outputs)
        Targets.
    alphas : ndarray of shape (n_alphas,)
        Strengths, on the standardised features; the first of equally good ones wins.
    standardize : bool
        Whether features are brought to variance 1 first.
    """
    X, weight = statistics.X, statistics.sample_weight
    w = np.ones(len(X)) if weight is None else weight.astype(np.float64)
    mean = statistics.mean
    scale = statistics.scale if standardize else np.ones_like(mean)
    # What is constant gets no coefficient, whatever its rounded mean leaves.
    scale = np.where(statistics.is_constant, np.inf, scale)
    Y_mean = np.average(Y, axis=0, weights=w)
    T = np.sqrt(w)[:, None] * (Y - Y_mean)

    def blocks() -> Iterator[tuple[slice, Array]]:
        for first in range(0, len(X), BLOCK):
            part = slice(first, first + BLOCK)
            yield part, np.sqrt(w[part])[:, None] * ((X[part] - mean) / scale)

    n, d = X.shape
    if n > d:
        s, V = statistics.spectrum(standardize=standardize)
        s = s * w.sum()
        AT = np.zeros((d, T.shape[1]))
        for part, A in blocks():
            AT += A.T @ T[part]
    else:
        A = np.concatenate([A for _, A in blocks()])
        s, U = np.linalg.eigh(A @ A.T)
        positive = s > s[-1] * n * np.finfo(float).eps
        s, V = s[positive], (A.T @ U[:, positive]) / np.sqrt(s[positive])
        AT = A.T @ T
    s = np.maximum(s, 0)
    VAT = V.T @ AT

    errors = np.zeros(len(alphas) if len(alphas) > 1 else 0)
    best = 0
    if len(errors):
        variance = (T**2).sum(axis=0)
        variance[variance == 0] = 1
        inverse = 1 / (s[:, None] + alphas)  # (d, n_alphas)
        for part, A in blocks():
            P = A @ V
            kept = 1 - (P**2 @ inverse + (w[part] / w.sum())[:, None])  # 1 - h
            kept = np.maximum(kept, 1e-10)  # a row that alone decides its own prediction
            for j in range(len(alphas)):
                left_out = (T[part] - P @ (VAT * inverse[:, j : j + 1])) / kept[:, j : j + 1]
                errors[j] += (left_out**2 / variance).sum()
        errors /= T.shape[1]
        best = int(np.argmin(errors))
    coef = (V @ (VAT / (s + alphas[best])[:, None])).T / scale
    return Solution(coef, Y_mean - coef @ mean, mean, float(alphas[best]), errors)
