"""Rows held out of the training rows: those that choose a hyper-parameter, or end a training early.

A head that is given no validation part draws one. Every class keeps a sample to learn from.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

__all__ = ["hold_out", "hold_out_unstratified", "stratified_folds"]

Array = NDArray[Any]


def hold_out(codes: Array, fraction: float, random_state: Any) -> Array | None:
    """Draw a share of every class that has two samples or more.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Class numbers from 0.
    fraction : float
        Share of each class; at least one sample is drawn and at least one stays.
    random_state : int, RandomState or None
        As in scikit-learn.

    Returns
    -------
    ndarray of bool of shape (n_samples,), or None
        The rows held out; None where fewer than two classes have two samples.

    Examples
    --------
    >>> hold_out(np.array([0, 0, 1, 1, 2]), 0.2, 0).sum()
    np.int64(2)
    >>> hold_out(np.array([0, 0, 1, 2]), 0.2, 0) is None
    True
    """
    counts = np.bincount(codes)
    if (counts >= 2).sum() < 2:
        return None
    taken = np.clip(np.round(fraction * counts), 1, np.maximum(counts - 1, 0)).astype(int)
    order = check_random_state(random_state).permutation(len(codes))
    by_class = order[np.argsort(codes[order], kind="stable")]
    first = np.cumsum(counts) - counts
    rank = np.arange(len(codes)) - np.repeat(first, counts)
    held = np.zeros(len(codes), dtype=bool)
    held[by_class] = rank < np.repeat(taken, counts)
    return held


def stratified_folds(codes: Array, n_folds: int, random_state: Any) -> Array:
    """Deal the rows of each class over folds in turn.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Class numbers from 0.
    n_folds : int
        Number of folds.
    random_state : int, RandomState or None
        As in scikit-learn.

    Returns
    -------
    ndarray of int of shape (n_samples,)
        Number of each row's fold.

    Examples
    --------
    >>> folds = stratified_folds(np.array([0, 0, 1, 1]), 2, 0)
    >>> np.bincount(folds).tolist(), int(folds[0] + folds[1])
    ([2, 2], 1)
    """
    order = check_random_state(random_state).permutation(len(codes))
    by_class = order[np.argsort(codes[order], kind="stable")]
    fold_of = np.empty(len(codes), int)
    # On from class to class, so that small classes don't all land in the first folds.
    fold_of[by_class] = np.arange(len(codes)) % n_folds
    return fold_of


def hold_out_unstratified(n: int, fraction: float, random_state: Any) -> Array | None:
    """Draw a share of rows that have no classes: numbers, or several labels at once.

    Parameters
    ----------
    n : int
        Rows.
    fraction, random_state
        As for `hold_out`.

    Returns
    -------
    ndarray of bool of shape (n,), or None
        The rows held out, at least one; None where there are fewer than five.

    Examples
    --------
    >>> hold_out_unstratified(10, 0.2, 0).sum()
    np.int64(2)
    """
    if n < 5:
        return None
    held = np.zeros(n, dtype=bool)
    taken = int(np.clip(round(fraction * n), 1, n - 1))
    held[check_random_state(random_state).permutation(n)[:taken]] = True
    return held
