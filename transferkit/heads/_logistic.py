"""The pure parts of the linear head: solver, path, score. Arrays in, arrays out."""

import warnings
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from transferkit.heads._rows import standardised
from transferkit.heads._scores import log_softmax

__all__ = [
    "Candidate",
    "Solution",
    "path",
    "score",
    "solve",
]

Array = NDArray[Any]
# The path ends after this many rises of the held-out log loss in a row.
PATIENCE = 2


class Candidate(TypedDict):
    """One point of the path: a strength and how it did on the held-out rows."""

    C: float
    accuracy: float
    log_loss: float
    n_iter: int
    converged: bool


@dataclass(frozen=True)
class Solution:
    """What the solver found.

    Parameters
    ----------
    coef : ndarray of shape (n_scores, n_features)
        One row of coefficients per class, or a single one for two classes.
    intercept : ndarray of shape (n_scores,)
        The intercepts.
    n_iter : int
        Iterations.
    converged : bool
        Whether the solver says that it arrived.
    """

    coef: Array
    intercept: Array
    n_iter: int
    converged: bool


def solve(
    X: Array,
    codes: Array,
    weight: Array | None = None,
    *,
    C: float,
    tol: float,
    max_iter: int,
    start: Solution | None = None,
) -> Solution:
    """Minimise ``C * sum(weight * loss) + ||coef||² / 2``.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Features.
    codes : ndarray of shape (n_samples,)
        Class numbers, at least two different ones.
    weight : ndarray of shape (n_samples,), default=None
        Sample weights.
    C, tol, max_iter
        As in `transferkit.heads.linear.Classifier`.
    start : Solution, default=None
        Where to start, instead of zero.

    Returns
    -------
    Solution
        Without any warning; ask its `converged`.
    """
    model = LogisticRegression(C=C, tol=tol, max_iter=max_iter, warm_start=start is not None)
    if start is not None:
        model.coef_, model.intercept_ = start.coef, start.intercept
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, codes, sample_weight=weight)
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    failed = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return Solution(model.coef_, model.intercept_, int(np.max(model.n_iter_)), not failed)


def path(
    Cs: Array,
    X: Array,
    codes: Array,
    weight: Array | None,
    held: Array,
    *,
    standardize: bool,
    tol: float,
    max_iter: int,
) -> list[Candidate]:
    """Fit along ascending C on the rows not held out, score each on those held out.

    Parameters
    ----------
    Cs : ndarray
        The candidates, ascending; each starts where the one before ended.
    X, codes, weight
        As in `solve`.
    held : ndarray of bool of shape (n_samples,)
        The rows held out.
    standardize : bool
        Whether to standardise, by the rows not held out.
    tol, max_iter
        As in `solve`.

    Returns
    -------
    list of Candidate
        Those tried, until the log loss has risen `PATIENCE` times in a row.
    """
    known, train_codes = np.unique(codes[~held], return_inverse=True)
    train_weight, held_weight = (None, None) if weight is None else (weight[~held], weight[held])
    train, mean, scale = standardised(X[~held], train_weight, enabled=standardize)
    test = ((X[held] - mean) / scale).astype(X.dtype, copy=False)
    points: list[Candidate] = []
    found = None
    for C in Cs.tolist():
        found = solve(
            train, train_codes, train_weight, C=C, tol=tol, max_iter=max_iter, start=found
        )
        log_proba = log_softmax(test @ found.coef.T + found.intercept)
        accuracy, loss = score(log_proba, known, codes[held], held_weight)
        points.append(
            Candidate(
                C=C,
                accuracy=accuracy,
                log_loss=loss,
                n_iter=found.n_iter,
                converged=found.converged,
            )
        )
        losses = [point["log_loss"] for point in points[-PATIENCE - 1 :]]
        if len(losses) > PATIENCE and all(np.diff(losses) > 0):
            break
    return points


def score(
    log_proba: Array, known: Array, codes: Array, weight: Array | None = None
) -> tuple[float, float]:
    """Accuracy and log loss.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_known)
        Logarithms of the probabilities.
    known : ndarray of shape (n_known,)
        The class numbers of the columns, sorted.
    codes : ndarray of shape (n_samples,)
        The true class numbers. One that isn't known counts as an error, and is left
        out of the log loss, which it would make infinite for every candidate alike.
    weight : ndarray of shape (n_samples,), default=None
        Sample weights.

    Returns
    -------
    (float, float)
        Accuracy; log loss, 0 where no sample's class is known.
    """
    weight = np.ones(len(codes)) if weight is None else weight.astype(np.float64)
    right = known[log_proba.argmax(axis=1)] == codes
    rows = np.flatnonzero(np.isin(codes, known))
    losses = -log_proba[rows, np.searchsorted(known, codes[rows])].astype(np.float64)
    log_loss = np.average(losses, weights=weight[rows]) if len(rows) else 0.0
    return float(np.average(right, weights=weight)), float(log_loss)
