"""Bring features and targets to mean 0 and variance 1, and rows to length 1."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from transferkit.solvers.statistics import FeatureStatistics

__all__ = [
    "ScaledRows",
    "Targets",
    "mean_and_std",
    "standardize_features",
    "standardize_with",
    "unit_rows",
]

Array = NDArray[Any]
BLOCK = 2**18  # numbers held in float64 at once, so few that they stay in the cache


@dataclass(frozen=True, eq=False)
class Targets:
    """Target numbers, brought to mean 0 and variance 1 in float64.

    Prices and Unix times are large beside their spread: 1.7e9 ± 1e3 has no digit left of the
    spread in float32, and a sum of squares that loses it in float64 too.

    Parameters
    ----------
    scaled : ndarray of shape (n_samples, n_outputs)
        What a head learns.
    mean, scale : float or ndarray of shape (n_outputs,)
        What brings its answers back; numbers where one number per sample was given.

    Examples
    --------
    >>> targets = Targets.of(np.array([1e9, 1e9 + 2]), None)
    >>> targets.scaled.ravel().tolist(), targets.mean, targets.scale
    ([-1.0, 1.0], np.float64(1000000001.0), np.float64(1.0))
    """

    scaled: Array
    mean: Any
    scale: Any

    @classmethod
    def of(cls, y: Array, weight: Array | None) -> "Targets":
        """Standardise numbers of shape (n_samples,) or (n_samples, n_outputs)."""
        Y = y.reshape(len(y), -1)
        # Their largest first, so that squares neither overflow nor vanish; a power of two,
        # which rounds nothing.
        unit = 2.0 ** (np.frexp(abs(Y).max(axis=0))[1] - 1)
        unit[~np.isfinite(1 / unit)] = 1
        mean, scale = mean_and_std(Y / unit, weight)
        scaled = (Y / unit - mean) / scale
        return cls(scaled, *_in_shape(y, mean * unit, scale * unit))

    @classmethod
    def shifted(cls, y: Array, weight: Array | None) -> "Targets":
        """Do nearly as `of`, for trees, without rounding, so that equal distances stay equal.

        The mean is one of the numbers, and the scale a power of two.
        """
        Y = y.reshape(len(y), -1)
        middle = np.take_along_axis(Y, np.argsort(Y, axis=0)[[len(Y) // 2]], axis=0)[0]
        scale = np.ravel(cls.of(Y, weight).scale)
        scale = 2.0 ** np.round(np.log2(scale))
        return cls((Y - middle) / scale, *_in_shape(y, middle, scale))


def _in_shape(y: Array, *each: Array) -> list[Any]:
    """Turn a value per output into a single number, if the targets are one number per sample."""
    return [values[0] if y.ndim == 1 else values for values in each]


def mean_and_std(X: Array, weight: Array | None) -> tuple[Array, Array]:
    """Mean and standard deviation of each feature, float64; of a constant one, 1.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Features, or targets.
    weight : ndarray of shape (n_samples,) or None
        Sample weights.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # of a look whether all are finite
        scaler = StandardScaler().fit(X, sample_weight=weight)
    return scaler.mean_.astype(np.float64), scaler.scale_.astype(np.float64)


def standardize_features(
    X: Array,
    weight: Array | None,
    *,
    known: FeatureStatistics | None = None,
) -> tuple[Array, Array, Array]:
    """Bring each feature to mean 0 and variance 1.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Features.
    weight : ndarray of shape (n_samples,) or None
        Sample weights.
    known : FeatureStatistics, default=None
        Of X, without weights.

    Returns
    -------
    (ndarray, ndarray, ndarray)
        A copy, constant features exactly 0, in the type of X; the mean and the scale
        that made it, float64.
    """
    mean, scale = (known.mean, known.scale) if known else mean_and_std(X, weight)
    scaled = standardize_with(X, mean, scale, X.dtype)
    # The rounded mean of a constant leaves a residue, which would get a coefficient.
    scaled[:, X.min(axis=0) == X.max(axis=0)] = 0
    return scaled, mean, scale


def standardize_with(X: Array, mean: Array, scale: Array, dtype: Any) -> Array:
    """Subtract a mean from rows and divide by a scale, in float64 with one rounding at the end.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Features.
    mean, scale : ndarray of shape (n_features,)
        Float64.
    dtype
        Type of the result.
    """
    standardized = np.empty(X.shape, dtype)
    step = max(16, BLOCK // max(1, X.shape[1]))
    for first in range(0, len(X), step):
        part = slice(first, first + step)
        standardized[part] = (X[part] - mean) / scale
    return standardized


class ScaledRows:
    """Rows of mean 0 and variance 1, float32, made when they are asked for.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), or unread rows
        Features.
    mean, scale : ndarray of shape (n_features,)
        Float64.

    Examples
    --------
    >>> rows = ScaledRows(np.array([[1.0], [5.0]]), mean=np.array([3.0]), scale=np.array([2.0]))
    >>> len(rows), rows[:].tolist()
    (2, [[-1.0], [1.0]])
    """

    def __init__(self, X: Any, mean: Array, scale: Array) -> None:
        self.X, self.mean, self.scale = X, mean, scale
        self.shape = X.shape

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, at: Any) -> Array:
        return standardize_with(np.asarray(self.X[at]), self.mean, self.scale, np.float32)


def unit_rows(X: Array) -> Array:
    """Scale rows to length 1. A row of zeros stays.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Features.
    """
    squares = np.einsum("ij,ij->i", X, X)
    kind = np.finfo(X.dtype)
    if len(X) and kind.tiny / kind.eps < squares.min() and squares.max() < np.inf:
        return np.asarray(X / np.sqrt(squares)[:, None])
    # Divided by the largest entry first, so that squares neither overflow nor vanish.
    largest = np.abs(X).max(axis=1, keepdims=True)
    scaled = X / np.where(largest > 0, largest, 1)
    length = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))[:, None]
    units: Array = scaled / np.where(length > 0, length, 1)
    return units
