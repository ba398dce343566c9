"""Statistics of features that several heads need, computed once and shared."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FeatureStatistics"]

Array = NDArray[Any]
BLOCK = 4096  # rows held in float64 at once
EPS = np.finfo(np.float64).eps


class FeatureStatistics:
    """Mean, scale, Gram matrix and its eigenvectors, each computed when first asked for.

    In float64, a block of rows at a time, so neither a memory-mapped array nor rows that lie in a
    store are copied. Pass it to
    the `fit` of every head that is to learn from the same rows.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), or unread rows
        Features; kept, not copied.
    sample_weight : ndarray of shape (n_samples,), default=None
        Weights of the rows.

    Examples
    --------
    >>> from transferkit.heads import FeatureStatistics, create_head
    >>> X = np.random.default_rng(0).normal(size=(60, 5))
    >>> y = np.where(X[:, 0] > 0, "cat", "dog")
    >>> statistics = FeatureStatistics(X)
    >>> heads = [create_head(n).fit(X, y, statistics=statistics) for n in ("ridge", "linear")]
    >>> [head.predict([[3, 0, 0, 0, 0]]).tolist() for head in heads]
    [['cat'], ['cat']]
    """

    def __init__(self, X: Any, sample_weight: Array | None = None) -> None:
        self.X, self.sample_weight = X, sample_weight
        self._spectra: dict[bool, tuple[Array, Array]] = {}

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return len(self.X)

    @property
    def mean(self) -> Array:
        """Mean of each feature, (n_features,)."""
        return self._moments[0]

    @property
    def scale(self) -> Array:
        """Standard deviation of each feature, 1 for a constant one, (n_features,)."""
        return self._moments[1]

    @property
    def is_constant(self) -> Array:
        """Whether each feature is the same in all rows, (n_features,)."""
        return self._moments[2]

    @cached_property
    def gram(self) -> Array:
        """Weighted Gram matrix of the centred rows, (n_features, n_features)."""
        return self._gram()

    def spectrum(self, *, standardize: bool = True) -> tuple[Array, Array]:
        """Eigenvalues and eigenvectors of the covariance, the Gram matrix per weight.

        Parameters
        ----------
        standardize : bool, default=True
            Whether of standardised features. Constant ones are 0 in any case.

        Returns
        -------
        (ndarray of shape (n_features,), ndarray of shape (n_features, n_features))
            Eigenvalues, ascending and at least 0; one eigenvector per column.
        """
        if standardize not in self._spectra:
            inverse = (1 / self.scale if standardize else np.ones_like(self.scale)) * (
                ~self.is_constant
            )
            total = self.n_samples if self.sample_weight is None else self.sample_weight.sum()
            values, vectors = np.linalg.eigh(self.gram * inverse * inverse[:, None])
            self._spectra[standardize] = np.maximum(values / total, 0), vectors
        return self._spectra[standardize]

    def known(self, n_samples: int, first: Array, weight: Array | None) -> FeatureStatistics | None:
        """Return these statistics for the rows that they are of, or None if the rows have weights.

        Parameters
        ----------
        n_samples : int
            Number of rows that a head is fitted on.
        first : ndarray of shape (n_features,)
            The first of them.
        weight : ndarray or None
            Their weights.

        Raises
        ------
        ValueError
            If they are of other rows.
        """
        shape = (n_samples, *first.shape)
        if self.X.shape != shape or not np.array_equal(self.X[0], first):
            raise ValueError(
                f"statistics are of an array of shape {self.X.shape}, and the head is fitted on "
                f"{'other rows of the same' if self.X.shape == shape else 'rows of'} shape "
                f"{shape}; give FeatureStatistics of the rows that fit is given, those of "
                "validation at their end"
            )
        return self if weight is None else None

    @cached_property
    def _moments(self) -> tuple[Array, Array, Array]:
        low, high = np.asarray(self.X[0]), np.asarray(self.X[0])
        total, mean, squares = 0.0, np.zeros(len(low)), np.zeros(len(low))
        for part, block in self._blocks():
            low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
            w = np.ones(len(block)) if self.sample_weight is None else self.sample_weight[part]
            # Means and sums of squares of two sets of rows merge exactly (Chan, Golub and
            # LeVeque 1983, "Algorithms for computing the sample variance").
            share = float(w.sum())
            own = (w @ block) / share
            block -= own
            squares += w @ np.square(block) + (own - mean) ** 2 * total * share / (total + share)
            mean += (own - mean) * share / (total + share)
            total += share
        scale = np.sqrt(squares / total)
        # A spread that is only rounding mustn't be magnified.
        noise = np.sqrt(len(self.X) * EPS) * scale + len(self.X) * EPS * abs(mean)
        is_constant = low == high
        return mean, np.where(is_constant | (scale <= noise), 1, scale), is_constant

    def _gram(self) -> Array:
        d = self.X.shape[1]
        gram = np.zeros((d, d))
        for part, block in self._blocks():
            block -= self.mean
            if self.sample_weight is not None:
                block *= np.sqrt(self.sample_weight[part])[:, None]
            gram += block.T @ block
        return gram

    def _blocks(self) -> Iterator[tuple[slice, Array]]:
        for first in range(0, len(self.X), BLOCK):
            part = slice(first, first + BLOCK)
            yield part, np.array(self.X[part], dtype=np.float64)
