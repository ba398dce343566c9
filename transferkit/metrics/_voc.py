"""Average precision as Pascal VOC 2007 measures it."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["average_precision_11", "mean_average_precision_11"]


def average_precision_11(y_true: ArrayLike, scores: ArrayLike) -> float:
    """11-point average precision: mean of the best precision at recalls 0, 0.1, … 1.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        0 and 1, at least one 1.
    scores : array-like of shape (n_samples,)
        Larger means more likely 1.

    References
    ----------
    Everingham et al. (2010), "The Pascal visual object classes (VOC) challenge", equation 1.

    Examples
    --------
    >>> round(average_precision_11([1, 0, 1], [3, 2, 1]), 4)
    0.8485
    """
    true = np.asarray(y_true)[np.argsort(-np.asarray(scores), kind="stable")]
    hits = np.cumsum(true)
    recall, precision = hits / hits[-1], hits / np.arange(1, len(true) + 1)
    points = [precision[recall >= at - 1e-12].max() for at in np.linspace(0, 1, 11)]
    return float(np.mean(points))


def mean_average_precision_11(y_true: NDArray[Any], scores: NDArray[Any]) -> float:
    """Mean of `average_precision_11` over the labels that occur.

    Parameters
    ----------
    y_true, scores : ndarray of shape (n_samples, n_labels)
        0 and 1; scores.
    """
    occurring = np.flatnonzero(y_true.any(axis=0))
    return float(np.mean([average_precision_11(y_true[:, j], scores[:, j]) for j in occurring]))
