"""Compute scores that are linear in the features, precisely enough to tell classes apart."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["linear_scores", "score_dtype"]

Array = NDArray[Any]
BLOCK = 4096  # rows widened at once
# Class scores differ by about 1, and float32 has seven digits, of which this sum leaves four.
LARGEST_TERMS = 1e3
SMALLEST_COEF, LARGEST_COEF = 1e-30, 1e30


def score_dtype(coef: Array, mean: Array, dtype: Any) -> Any:
    """Choose float32 for class scores if it is precise enough, else float64.

    Parameters
    ----------
    coef : ndarray of shape (n_scores, n_features)
        Coefficients on the features as given, float64.
    mean : ndarray of shape (n_features,)
        Mean of the features. Far from zero, a score is a small difference of large terms.
    dtype
        The features'.
    """
    if np.dtype(dtype) == np.float64:
        return np.float64
    sizes = abs(coef).max(axis=1, initial=0)
    is_small = (abs(coef) @ abs(mean)).max(initial=0) < LARGEST_TERMS
    is_usual = ((sizes == 0) | ((sizes > SMALLEST_COEF) & (sizes < LARGEST_COEF))).all()
    return np.float32 if is_small and is_usual else np.float64


def linear_scores(X: Array, coef: Array, intercept: Array) -> Array:
    """Scores ``X @ coef.T + intercept`` in the type of `coef`, a block of rows widened at once.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Features.
    coef : ndarray of shape (n_scores, n_features)
        Coefficients.
    intercept : ndarray of shape (n_scores,)
        Intercepts.
    """
    if X.dtype.itemsize >= coef.dtype.itemsize:
        return np.asarray(X @ coef.T + intercept)
    scores = np.empty((len(X), len(coef)), coef.dtype)
    for first in range(0, len(X), BLOCK):
        part = slice(first, first + BLOCK)
        scores[part] = X[part].astype(coef.dtype) @ coef.T + intercept
    return scores
