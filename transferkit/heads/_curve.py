"""Choosing the strength of a logistic regression: held-out scores along the path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from transferkit.heads._inputs import ClassRows
from transferkit.heads._problems import Fit, Problems
from transferkit.heads._scores import log_softmax

__all__ = ["Candidate", "Plan", "best", "curve", "curves", "mean_curve", "score"]

Array = NDArray[Any]
# The path ends after this many rises of the held-out log loss in a row.
PATIENCE = 2


class Candidate(TypedDict):
    """One point of the path: a strength, how it did on the held-out rows, how it was solved."""

    C: float
    accuracy: float
    log_loss: float
    n_iter: int
    converged: bool
    objective: float
    gradient: float
    gap: float


@dataclass(frozen=True, eq=False)
class Plan:
    """How a path is solved.

    Parameters
    ----------
    Cs : ndarray of shape (n_strengths,)
        Inverses of the strength, ascending.
    problem : dict
        Options of `Problems.logistic`.
    tol, max_iter
        As in `transferkit.heads._newton.minimise`.
    """

    Cs: Array
    problem: dict[str, Any]
    tol: float
    max_iter: int


def curve(
    rows: ClassRows, weight: Array | None, held: Array, plan: Plan, *, to_the_end: bool = False
) -> list[Candidate]:
    """Fit along ascending C on the rows not held out, score each on those held out.

    Parameters
    ----------
    rows : ClassRows
        Rows of one label each.
    weight : ndarray of shape (n_samples,) or None
        Sample weights.
    held : ndarray of bool of shape (n_samples,)
        The rows held out.
    plan : Plan
        How.
    to_the_end : bool, default=False
        Whether to go on after the log loss has risen `PATIENCE` times in a row.
    """
    known, codes = np.unique(rows.y[~held], return_inverse=True)
    train_weight, test_weight = (None, None) if weight is None else (weight[~held], weight[held])
    problems = Problems.logistic(rows.some(~held), codes, train_weight, **plan.problem)
    found = problems.path(plan.Cs, rows.some(held), tol=plan.tol, max_iter=plan.max_iter)
    points: list[Candidate] = []
    for C, fit, scores in found:
        accuracy, loss = score(log_softmax(scores), known, rows.y[held], test_weight)
        points.append(_candidate(C, fit, 0, accuracy, loss))
        if not to_the_end and _is_past_its_best(points):
            break
    return points


def mean_curve(
    rows: ClassRows, weight: Array | None, fold_of: Array, plan: Plan
) -> list[Candidate]:
    """Average the curves of several folds, each of which is held out once.

    Parameters
    ----------
    rows, weight, plan
        As in `curve`.
    fold_of : ndarray of int of shape (n_samples,)
        Number of each row's fold.
    """
    each = [
        curve(rows, weight, fold_of == fold, plan, to_the_end=True)
        for fold in np.unique(fold_of)
        if len(np.unique(rows.y[fold_of != fold])) > 1
    ]
    return [
        Candidate(
            C=points[0]["C"],
            accuracy=float(np.mean([point["accuracy"] for point in points])),
            log_loss=float(np.mean([point["log_loss"] for point in points])),
            n_iter=sum(point["n_iter"] for point in points),
            converged=all(point["converged"] for point in points),
            objective=float(np.mean([point["objective"] for point in points])),
            gradient=max(point["gradient"] for point in points),
            gap=max(point["gap"] for point in points),
        )
        for points in zip(*each, strict=True)
    ]


def curves(rows: ClassRows, Y: Array, held: Array, plan: Plan) -> list[list[Candidate]]:
    """Do as `curve` for several labels in one solve, each with its own held-out rows.

    Parameters
    ----------
    rows : ClassRows
        Rows of several labels each.
    Y : ndarray of shape (n_samples, n_labels)
        0 and 1, the labels that are wanted.
    held : ndarray of bool of shape (n_samples, n_labels)
        The rows that each label holds out.
    plan : Plan
        How.
    """
    given = np.ones(len(Y)) if rows.weight is None else rows.weight
    train = np.asarray(~held.all(axis=1))
    weight = (given[:, None] * ~held)[train]
    problems = Problems.logistic(rows.some(train), Y[train], weight, **plan.problem)
    everything = rows.some(np.ones(len(Y), bool))
    points: list[list[Candidate]] = [[] for _ in Y.T]
    done = np.zeros(len(points), bool)
    for C, fit, scores in problems.path(plan.Cs, everything, tol=plan.tol, max_iter=plan.max_iter):
        for j in np.flatnonzero(~done):
            test = held[:, j]
            log_proba = log_softmax(scores[test, j])
            accuracy, loss = score(log_proba, np.arange(2), Y[test, j], given[test])
            points[j].append(_candidate(C, fit, int(j), accuracy, loss))
            done[j] = _is_past_its_best(points[j])
        if done.all():
            break
    return points


def best(points: Sequence[Candidate]) -> float:
    """Return the C of the smallest log loss; the first of equals."""
    return min(points, key=lambda point: point["log_loss"])["C"]


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


def _candidate(C: float, fit: Fit, problem: int, accuracy: float, log_loss: float) -> Candidate:
    return Candidate(
        C=C,
        accuracy=accuracy,
        log_loss=log_loss,
        n_iter=fit.n_iter,
        converged=bool(fit.converged[problem]),
        objective=float(fit.objective[problem]),
        gradient=float(fit.gradient[problem]),
        gap=float(fit.gap[problem]),
    )


def _is_past_its_best(points: Sequence[Candidate]) -> bool:
    losses = [point["log_loss"] for point in points[-PATIENCE - 1 :]]
    return len(losses) > PATIENCE and bool((np.diff(losses) > 0).all())
