"""Average precision and AUROC of scores, and their bootstrap draws from a single sort."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from transferkit.uncertainty import draws_for

__all__ = ["label_rankings", "ranking_draws", "weighted_ranking"]

Array = NDArray[Any]


def label_rankings(true: Array, scores: Array) -> dict[int, tuple[float, float, float]]:
    """Average precision, AUROC and prevalence of each label for which they are defined.

    Parameters
    ----------
    true, scores : ndarray of shape (n_samples, n_labels)
        0 and 1; larger means more likely 1.

    Returns
    -------
    dict of int to (float, float, float)
        Positions of the labels that some samples have and some don't → the three numbers.
    """
    prevalence = true.mean(axis=0)
    return {
        int(j): (
            float(average_precision_score(true[:, j], scores[:, j])),
            float(roc_auc_score(true[:, j], scores[:, j])),
            float(prevalence[j]),
        )
        for j in np.flatnonzero((prevalence > 0) & (prevalence < 1))
    }


def weighted_ranking(true: Array, scores: Array) -> Callable[[Array], tuple[float, float]]:
    """Average precision and AUROC as functions of the samples' weights.

    Parameters
    ----------
    true : ndarray of shape (n_samples,)
        0 and 1.
    scores : ndarray of shape (n_samples,)
        Larger means more likely 1; equal ones share a place.

    Returns
    -------
    callable
        Weights of shape (n_samples,) → both numbers, as scikit-learn's ``sample_weight``
        gives them; NaN where all that weighs is of one kind.

    Examples
    --------
    >>> measure = weighted_ranking(np.array([0, 1, 1]), np.array([0.1, 0.3, 0.2]))
    >>> [float(value) for value in measure(np.ones(3))]
    [1.0, 1.0]
    """
    order = np.argsort(-scores, kind="stable")
    positive = true[order].astype(np.float64)
    # Positions at which a run of equal scores ends.
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))

    def measure(weights: Array) -> tuple[float, float]:
        w = weights[order]
        hits, seen = np.cumsum(w * positive)[ends], np.cumsum(w)[ends]
        n_hits, n_misses = hits[-1], seen[-1] - hits[-1]
        if n_hits <= 0 or n_misses <= 0:
            return np.nan, np.nan
        new = np.diff(hits, prepend=0)
        precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
        misses = np.diff(seen - hits, prepend=0)
        # A miss is ranked below every hit of a better score, and half of those of its own.
        below = (misses * (hits - new / 2)).sum()
        return float((new * precision).sum() / n_hits), float(below / (n_hits * n_misses))

    return measure


def ranking_draws(true: Array, scores: Array, *, seed: int = 0) -> Array:
    """Average precision, AUROC and prevalence of each label over rows drawn with replacement.

    Parameters
    ----------
    true, scores : ndarray of shape (n_samples, n_labels)
        0 and 1; larger means more likely 1.
    seed : int, default=0
        Of the draws; all labels have the same rows.

    Returns
    -------
    ndarray of shape (n_draws, n_labels, 3)
        NaN where a label is in none or all of a draw's rows. 500 draws, fewer (down to 100)
        where there are very many rows and labels.
    """
    n, n_labels = true.shape
    n_draws = min(500, draws_for(true.size))
    measures = [weighted_ranking(true[:, j], scores[:, j]) for j in range(n_labels)]
    random = np.random.default_rng(seed)
    draws = np.empty((n_draws, n_labels, 3))
    for draw in draws:
        weights = np.bincount(random.integers(0, n, n), minlength=n)
        draw[:, :2] = np.reshape([measure(weights) for measure in measures], (n_labels, 2))
        draw[:, 2] = weights @ true / n
    draws[np.isnan(draws[:, :, 0])] = np.nan
    return draws
