"""Logistic regression whose C is chosen on held-out rows.

Along an ascending path of C, the model with the smallest held-out log loss wins. Accuracy doesn't
decide, because few held-out rows leave it with ties and jumps. The rows are those of a validation
part, a share of each class, or folds; several labels are chosen for one by one, along one path
that solves all of them together.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from transferkit.datasets.splits import deal_stratified, draw_stratified
from transferkit.solvers.linear import LinearFit, LinearProblems
from transferkit.solvers.losses import log_softmax
from transferkit.solvers.rows import Part, select_rows
from transferkit.solvers.selection import Candidate, best, walk_path, walk_paths

__all__ = [
    "PathOptions",
    "PathPoint",
    "Selected",
    "SelectionOptions",
    "accuracy_and_log_loss",
    "select_C",
    "select_C_per_label",
]

logger = logging.getLogger(__name__)

Array = NDArray[Any]
# The path ends after this many rises of the held-out log loss in a row.
PATIENCE = 2
# Used when nothing can be held out; the middle of what the hold-out chooses on real features.
C_WITHOUT_HOLDOUT = 0.1
# Gains in the held-out rows' log likelihood up to this are as good as none: of pure noise about
# one in forty is larger.
EVIDENCE = 2.0


class PathPoint(TypedDict):
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
class PathOptions:
    """Options for solving a path.

    Parameters
    ----------
    Cs : ndarray of shape (n_strengths,)
        Inverses of the strength, ascending.
    problem : dict
        Options of `LinearProblems.logistic`.
    tol, max_iter
        As in `transferkit.solvers.newton.minimise`.
    """

    Cs: Array
    problem: dict[str, Any]
    tol: float
    max_iter: int


@dataclass(frozen=True, eq=False)
class SelectionOptions:
    """Options for choosing C.

    Parameters
    ----------
    C : "auto" or float
        A number fixes it.
    validation_fraction : float
        Share of each class that is held out.
    folds : int or None
        Folds instead of one hold-out.
    random_state : int, RandomState or None
        Draws either.
    """

    C: str | float
    validation_fraction: float
    folds: int | None
    random_state: Any


@dataclass(frozen=True, eq=False)
class Selected:
    """The chosen C, with an entry per label if there are several.

    Parameters
    ----------
    C : float or ndarray
        The strength.
    path : list
        The path's points, as `PathPoint`; empty where nothing was chosen.
    on_edge : bool or ndarray
        Whether it stands at an end of the path.
    """

    C: Any
    path: list[Any]
    on_edge: Any


def select_C(
    parts: Sequence[Part],
    y: Array,
    weight: Array | None,
    held: Array | None,
    path: PathOptions,
    options: SelectionOptions,
) -> Selected:
    """Choose C for one label per row.

    Parameters
    ----------
    parts : sequence of (ndarray, ndarray or None)
        Features, as in `transferkit.solvers.rows.StandardizedRows`.
    y : ndarray of shape (n_samples,)
        Class numbers from 0.
    weight : ndarray of shape (n_samples,) or None
        Sample weights.
    held : ndarray of bool of shape (n_samples,) or None
        The rows that choose. None draws them, or deals folds.
    path : PathOptions
        How the path is solved.
    options : SelectionOptions
        How C is chosen.
    """
    if options.C != "auto":
        return Selected(float(options.C), [], False)
    is_given = held is not None
    if held is None:
        held = draw_stratified(y, options.validation_fraction, options.random_state)
    if held is None or len(np.unique(y[~held])) < 2:
        logger.info("too few samples to hold any out; C = %g is not tuned", C_WITHOUT_HOLDOUT)
        return Selected(C_WITHOUT_HOLDOUT, [], False)
    if options.folds is not None and not is_given:
        fold_of = deal_stratified(y, options.folds, options.random_state)
        tried = _cross_validated(parts, y, weight, fold_of, path)
    else:
        tried = _held_out(parts, y, weight, held, path, PATIENCE)
    C = best(tried).C
    prior = _prior_loss(y, held, weight)
    on_edge = _is_on_edge(C, tried, path.Cs, prior, int(held.sum()))
    return Selected(C, [candidate.details for candidate in tried], on_edge)


def select_C_per_label(
    parts: Sequence[Part],
    Y: Array,
    weight: Array | None,
    held: Array | None,
    path: PathOptions,
    options: SelectionOptions,
    labels: Array,
) -> Selected:
    """Choose C for each of several labels, along one path that solves all of them together.

    Parameters
    ----------
    parts, weight, held, path, options
        As in `select_C`; but where no rows are given to choose by, each label draws its own.
    Y : ndarray of shape (n_samples, n_labels)
        0 and 1.
    labels : ndarray of int
        The columns that hold both 0 and 1; the others have no C.
    """
    n_labels = Y.shape[1]
    C, on_edge = np.full(n_labels, np.nan), np.zeros(n_labels, bool)
    points: list[list[PathPoint]] = [[] for _ in range(n_labels)]
    C[labels] = C_WITHOUT_HOLDOUT if options.C == "auto" else options.C
    if options.C != "auto":
        return Selected(C, points, on_edge)
    held_of = {}
    for j in labels.tolist():
        column = Y[:, j].astype(int)
        own = held
        if own is None:
            own = draw_stratified(column, options.validation_fraction, options.random_state)
        if own is not None and len(np.unique(column[~own])) == 2:
            held_of[j] = own
    if not held_of:
        logger.info("too few samples to hold any out; C = %g is not tuned", C_WITHOUT_HOLDOUT)
        return Selected(C, points, on_edge)
    each = np.column_stack(list(held_of.values()))
    tried_of = _held_out_per_label(parts, Y[:, list(held_of)], weight, each, path)
    for j, tried in zip(held_of, tried_of, strict=True):
        points[j], C[j] = [candidate.details for candidate in tried], best(tried).C
        prior = _prior_loss(Y[:, j].astype(int), held_of[j], weight)
        on_edge[j] = _is_on_edge(C[j], tried, path.Cs, prior, int(held_of[j].sum()))
    return Selected(C, points, on_edge)


def _held_out(
    parts: Sequence[Part],
    y: Array,
    weight: Array | None,
    held: Array,
    path: PathOptions,
    patience: int | None,
) -> list[Candidate]:
    """Fit on the rows that aren't held out, and judge by those that are."""
    known, codes = np.unique(y[~held], return_inverse=True)
    train_weight, test_weight = (None, None) if weight is None else (weight[~held], weight[held])
    problems = LinearProblems.logistic(
        select_rows(parts, ~held), codes, train_weight, **path.problem
    )
    models = problems.path(path.Cs, select_rows(parts, held), tol=path.tol, max_iter=path.max_iter)

    def judge(model: tuple[float, LinearFit, Array]) -> Candidate:
        C, fit, scores = model
        return _candidate(C, fit, 0, log_softmax(scores), known, y[held], test_weight)

    return walk_path(models, judge, patience=patience)


def _cross_validated(
    parts: Sequence[Part], y: Array, weight: Array | None, fold_of: Array, path: PathOptions
) -> list[Candidate]:
    """Average over folds, each of which is held out once."""
    each = [
        _held_out(parts, y, weight, fold_of == fold, path, None)
        for fold in np.unique(fold_of)
        if len(np.unique(y[fold_of != fold])) > 1
    ]
    return [
        _mean([candidate.details for candidate in same_C]) for same_C in zip(*each, strict=True)
    ]


def _held_out_per_label(
    parts: Sequence[Part], Y: Array, weight: Array | None, held: Array, path: PathOptions
) -> list[list[Candidate]]:
    """Do as `_held_out` for several labels in one solve.

    A row that a label holds out has weight 0 in that label's problem; `Y` and `held` have the
    shape (n_samples, n_labels).
    """
    base = np.ones(len(Y)) if weight is None else weight
    train = np.asarray(~held.all(axis=1))
    own_weight = (base[:, None] * ~held)[train]
    problems = LinearProblems.logistic(
        select_rows(parts, train), Y[train], own_weight, **path.problem
    )
    everything = select_rows(parts, np.ones(len(Y), bool))
    models = problems.path(path.Cs, everything, tol=path.tol, max_iter=path.max_iter)

    def judge(model: tuple[float, LinearFit, Array], j: int) -> Candidate:
        C, fit, scores = model
        test = held[:, j]
        log_proba = log_softmax(scores[test, j])
        return _candidate(C, fit, j, log_proba, np.arange(2), Y[test, j], base[test])

    return walk_paths(models, judge, Y.shape[1], patience=PATIENCE)


def accuracy_and_log_loss(
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


def _candidate(
    C: float,
    fit: LinearFit,
    problem: int,
    log_proba: Array,
    known: Array,
    codes: Array,
    weight: Array | None,
) -> Candidate:
    accuracy, log_loss = accuracy_and_log_loss(log_proba, known, codes, weight)
    point = PathPoint(
        C=C,
        accuracy=accuracy,
        log_loss=log_loss,
        n_iter=fit.n_iter,
        converged=bool(fit.converged[problem]),
        objective=float(fit.objective[problem]),
        gradient=float(fit.gradient[problem]),
        gap=float(fit.gap[problem]),
    )
    return Candidate(C, log_loss, point)


def _mean(points: Sequence[PathPoint]) -> Candidate:
    """Average the points of several folds at one strength."""
    mean = PathPoint(
        C=points[0]["C"],
        accuracy=float(np.mean([point["accuracy"] for point in points])),
        log_loss=float(np.mean([point["log_loss"] for point in points])),
        n_iter=sum(point["n_iter"] for point in points),
        converged=all(point["converged"] for point in points),
        objective=float(np.mean([point["objective"] for point in points])),
        gradient=max(point["gradient"] for point in points),
        gap=max(point["gap"] for point in points),
    )
    return Candidate(mean["C"], mean["log_loss"], mean)


def _is_on_edge(C: float, tried: Sequence[Candidate], Cs: Array, prior: float, n_held: int) -> bool:
    """Whether C lies at an end of the path; say so where a longer path may do better.

    It can't where the held-out rows hold nothing to gain: where the best of the path is no
    better than the classes' shares, `prior`, or than its neighbour.
    """
    on_edge = bool(len(Cs) > 1 and C in (Cs[0], Cs[-1]))
    losses = [candidate.loss for candidate in tried]
    inner = losses[1:] if Cs[0] == C else losses[:-1]
    gains = [n_held * (other - min(losses)) for other in (prior, min(inner, default=0.0))]
    if on_edge and min(gains) > EVIDENCE:
        logger.warning(
            "C = %.3g was chosen at the edge of the path (%.3g to %.3g); a wider Cs may do better",
            C, Cs[0], Cs[-1],
        )  # fmt: skip
    return on_edge


def _prior_loss(y: Array, held: Array, weight: Array | None) -> float:
    """Log loss on the held-out rows of predicting the classes' shares among the other rows."""
    weight = np.ones(len(y)) if weight is None else weight
    known, codes = np.unique(y[~held], return_inverse=True)
    shares = np.bincount(codes, weights=weight[~held])
    rows = held & np.isin(y, known)
    if not weight[rows].any() or not shares.any():
        return 0.0
    shares = np.maximum(shares / shares.sum(), np.finfo(np.float64).tiny)
    losses = -np.log(shares[np.searchsorted(known, y[rows])])
    return float(np.average(losses, weights=weight[rows]))
