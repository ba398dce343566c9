"""Linear discriminant analysis from the second moments of each class, read block by block.

With the classes' means m_k, the mean S of their covariances weighted by the priors, and the priors
p_k, the scores are ``x' S^-1 m_k - m_k' S^-1 m_k / 2 + log p_k``. Each covariance is shrunken
towards a multiple of the identity, ``(1 - s) S_k + s (tr S_k / d) 1``. Ledoit and Wolf's s needs
the fourth moments only as the sum of the rows' squared lengths, squared: that too is summed up row
by row, so three passes over the rows are enough.

References
----------
Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices",
section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lstsq

from transferkit.datasets import UnreadRows, row_blocks
from transferkit.solvers.statistics import FeatureStatistics

__all__ = ["DiscriminantScores", "discriminant"]

Array = NDArray[Any]
EPS = np.finfo(np.float64).eps
# Numbers of the classes' matrices that are held at once, 256 MB. More classes are done in turn,
# each on its own rows.
HELD = 2**25


@dataclass(frozen=True, eq=False)
class DiscriminantScores:
    """Linear scores of the classes, float64.

    Parameters
    ----------
    coef : ndarray of shape (n_classes, n_features)
        On the features as given.
    intercept : ndarray of shape (n_classes,)
        The intercepts.
    mean : ndarray of shape (n_features,)
        Of the features.
    """

    coef: Array
    intercept: Array
    mean: Array


def discriminant(
    X: Any, y: Array, priors: Array, shrinkage: str | float | None
) -> DiscriminantScores:
    """Fit.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), or unread rows
        Features; computed on in float64, a block of rows at a time.
    y : ndarray of shape (n_samples,)
        Class numbers from 0, each of which occurs.
    priors : ndarray of shape (n_classes,)
        Class probabilities.
    shrinkage : "auto", float or None
        The share s above, of each class.
    """
    statistics = FeatureStatistics(X)
    scale = statistics.scale
    if shrinkage != "auto":  # it is towards the identity on the features as given
        scale = np.full_like(scale, 2.0 ** np.round(np.log2(scale.max())))
    # Centred, because class means far from zero would leave no digits for their differences.
    # Constant features are exactly 0, whatever rounding left.
    rows = _ClassRows(X, y, statistics.mean, np.where(statistics.is_constant, np.inf, scale))
    means, spreads = _class_moments(rows, len(priors))
    if shrinkage != "auto":
        spreads = np.ones_like(spreads)
    covariance = _mean_covariance(rows, means, spreads, priors, shrinkage)
    # What is left of directions without variance is the rounding of the features.
    kind = X.dtype if X.dtype.kind == "f" else np.dtype(np.float64)
    coef = lstsq(covariance, means.T, cond=float(np.finfo(kind).eps))[0].T
    intercept = np.log(priors) - 0.5 * (coef * means).sum(axis=1)
    original = coef / rows.scale
    return DiscriminantScores(original, intercept - original @ rows.mean, rows.mean)


@dataclass(frozen=True, eq=False)
class _ClassRows:
    """Centred and scaled rows with their classes."""

    X: Any
    y: Array
    mean: Array
    scale: Array

    def blocks(self, codes: slice | None = None) -> Iterator[tuple[Array, Array]]:
        """Blocks of rows sorted by their classes, and the classes; of some classes only."""
        X, y = self.X, self.y
        if codes is not None:
            own = np.flatnonzero((y >= codes.start) & (y < codes.stop))
            if len(own) < len(y):
                X, y = UnreadRows([(X, None)]).select(own), y[own]
        for part, block in row_blocks(X):
            order = np.argsort(y[part], kind="stable")
            yield (block[order] - self.mean) / self.scale, y[part][order]


def _class_moments(rows: _ClassRows, n_classes: int) -> tuple[Array, Array]:
    """Mean and standard deviation of each class, (n_classes, n_features); of a constant, 1."""
    shape = (n_classes, len(rows.mean))
    total, mean, squares = np.zeros((n_classes, 1)), np.zeros(shape), np.zeros(shape)
    for block, codes in rows.blocks():
        here, starts, counts = np.unique(codes, return_index=True, return_counts=True)
        share, before = counts[:, None].astype(np.float64), total[here]
        own = np.add.reduceat(block, starts) / share
        block -= np.repeat(own, counts, axis=0)
        # As in FeatureStatistics: two sets of rows merge exactly.
        moved = own - mean[here]
        squares[here] += np.add.reduceat(block**2, starts)
        squares[here] += moved**2 * before * share / (before + share)
        mean[here] += moved * share / (before + share)
        total[here] += share
    variance = squares / total
    # scikit-learn's bound, below which a spread is only rounding and mustn't be magnified.
    noise = total * EPS * variance + (total * mean * EPS) ** 2
    return mean, np.where(variance <= noise, 1, np.sqrt(variance))


def _mean_covariance(
    rows: _ClassRows, means: Array, spreads: Array, priors: Array, shrinkage: str | float | None
) -> Array:
    """Mean of the classes' shrunken covariances, each shrunken on features of its own spread 1."""
    n_classes, d = means.shape
    covariance = np.zeros((d, d))
    at_once = max(1, HELD // d**2)
    for first in range(0, n_classes, at_once):
        codes = slice(first, min(first + at_once, n_classes))
        counts = np.zeros(codes.stop - codes.start)
        grams, fourths = np.zeros((len(counts), d, d)), np.zeros(len(counts))
        for block, own in rows.blocks(codes):
            for code in np.unique(own):
                Z = (block[own == code] - means[code]) / spreads[code]
                counts[code - first] += len(Z)
                grams[code - first] += Z.T @ Z
                fourths[code - first] += (np.square(Z).sum(axis=1) ** 2).sum()
        for code in range(codes.start, codes.stop):
            at = code - first
            share = shrinkage or 0.0
            if share == "auto":
                share = _ledoit_wolf(grams[at], float(fourths[at]), int(counts[at]))
            own = grams[at] / counts[at]
            shrunken = (1 - float(share)) * own
            shrunken[np.diag_indices(d)] += float(share) * np.trace(own) / d
            covariance += priors[code] * spreads[code][:, None] * shrunken * spreads[code]
    return covariance


def _ledoit_wolf(gram: Array, fourth: float, n: int) -> float:
    """Ledoit and Wolf's share of shrinkage.

    Parameters
    ----------
    gram : ndarray of shape (n_features, n_features)
        Gram matrix of n centred rows.
    fourth : float
        Sum of the rows' squared lengths, squared.
    n : int
        Number of rows.
    """
    d = len(gram)
    if d == 1:
        return 0.0
    size = float((gram**2).sum()) / n**2
    mu = float(np.trace(gram)) / n / d
    error = (fourth / n - size) / (d * n)
    distance = (size - d * mu**2) / d
    error = min(error, distance)
    return 0.0 if error <= 0 else error / distance
