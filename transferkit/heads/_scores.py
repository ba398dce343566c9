"""From scores and probabilities to labels, the same for every head."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.solvers.losses import log_softmax, sigmoid

__all__ = [
    "labels_of_probabilities",
    "labels_of_scores",
    "linear_scores",
    "log_softmax",
    "score_dtype",
    "sigmoid",
]

Array = NDArray[Any]
BLOCK = 4096  # rows widened at once


# Class scores differ by about 1, and float32 keeps seven digits: four are left below this sum.
LARGEST_TERMS = 1e3
SMALLEST_COEF, LARGEST_COEF = 1e-30, 1e30


def score_dtype(coef: Array, mean: Array, dtype: Any) -> Any:
    """Type in which coefficients on features give exact class scores: float32, if it can.

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


def labels_of_scores(classes: Any, scores: Array) -> Array:
    """Labels with the highest scores; of two classes, and of each of several labels, above 0.

    Parameters
    ----------
    classes : ndarray, or list of ndarray
        A head's `classes_`; a list for several labels at once.
    scores : ndarray of shape (n_samples, n_classes), (n_samples,) or (n_samples, n_labels)
        What `decision_function` returns.
    """
    if isinstance(classes, list):
        return np.asarray(classes[0][(scores > 0).astype(int)])
    index = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
    return np.asarray(classes[index])


def labels_of_probabilities(classes: Any, proba: Array) -> Array:
    """Most probable labels; of several at once, those more probable than not.

    Parameters
    ----------
    classes : ndarray, or list of ndarray
        A head's `classes_`.
    proba : ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
        What `predict_proba` returns.
    """
    if isinstance(classes, list):
        return np.asarray(classes[0][(proba > 0.5).astype(int)])
    return np.asarray(classes[proba.argmax(axis=1)])
