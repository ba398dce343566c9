"""Which strength a linear head is fitted at: fixed, or chosen on rows held out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit.heads._curve import Candidate, Plan, best, curve, curves, mean_curve
from transferkit.heads._inputs import Array, ClassRows
from transferkit.heads._rows import hold_out, stratified_folds

__all__ = ["Choice", "Choosing", "choose", "choose_each"]

logger = logging.getLogger(__name__)

# Used when nothing can be held out; the middle of what the hold-out chooses on real features.
C_WITHOUT_HOLDOUT = 0.1


@dataclass(frozen=True, eq=False)
class Choosing:
    """How C is chosen.

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
class Choice:
    """What was chosen, an entry per label where there are several.

    Parameters
    ----------
    C : float or ndarray
        The strength.
    path : list
        Candidates tried.
    on_edge : bool or ndarray
        Whether it stands at an end of the path.
    """

    C: Any
    path: list[Any]
    on_edge: Any


def choose(rows: ClassRows, weight: Array | None, plan: Plan, how: Choosing) -> Choice:
    """Choose for one label per row.

    Parameters
    ----------
    rows : ClassRows
        Rows; the validation part among them, if there is one, chooses.
    weight : ndarray of shape (n_samples,) or None
        Sample weights.
    plan : Plan
        The path.
    how : Choosing
        Parameters of the head.
    """
    if how.C != "auto":
        return Choice(float(how.C), [], False)
    held = rows.held
    if held is None:
        held = hold_out(rows.y, how.validation_fraction, how.random_state)
    if held is None or len(np.unique(rows.y[~held])) < 2:
        logger.info("too few samples to hold any out; C = %g is not tuned", C_WITHOUT_HOLDOUT)
        return Choice(C_WITHOUT_HOLDOUT, [], False)
    if how.folds is not None and rows.held is None:
        fold_of = stratified_folds(rows.y, how.folds, how.random_state)
        path = mean_curve(rows, weight, fold_of, plan)
    else:
        path = curve(rows, weight, held, plan)
    C = best(path)
    measured = rows.y if how.folds is not None and rows.held is None else rows.y[held]
    return Choice(C, path, _is_on_edge(path, C, plan.Cs, measured))


def choose_each(rows: ClassRows, both: Array, plan: Plan, how: Choosing) -> Choice:
    """Choose for each of several labels; `both` holds the positions of those with 0 and 1."""
    n_labels = rows.y.shape[1]
    found = Choice(
        np.full(n_labels, np.nan), [[] for _ in range(n_labels)], np.zeros(n_labels, bool)
    )
    found.C[both] = C_WITHOUT_HOLDOUT if how.C == "auto" else how.C
    if how.C != "auto":
        return found
    held = {}
    for j in both.tolist():
        column = rows.y[:, j].astype(int)
        own = rows.held
        if own is None:
            own = hold_out(column, how.validation_fraction, how.random_state)
        if own is not None and len(np.unique(column[~own])) == 2:
            held[j] = own
    if not held:
        logger.info("too few samples to hold any out; C = %g is not tuned", C_WITHOUT_HOLDOUT)
        return found
    paths = curves(rows, rows.y[:, list(held)], np.column_stack(list(held.values())), plan)
    for j, points in zip(held, paths, strict=True):
        found.path[j], found.C[j] = points, best(points)
        y = rows.y[held[j], j].astype(int)
        found.on_edge[j] = _is_on_edge(points, found.C[j], plan.Cs, y)
    return found


def _is_on_edge(path: list[Candidate], C: float, Cs: Array, y: Array) -> bool:
    """Whether C lies at an end of the path; say so where a wider one may do better.

    Parameters
    ----------
    path : list of Candidate
        What was tried.
    C : float
        What was chosen of it.
    Cs : ndarray of shape (n_candidates,)
        The path.
    y : ndarray of int
        Targets of the rows held out.
    """
    on_edge = bool(len(Cs) > 1 and C in (Cs[0], Cs[-1]))
    if on_edge and _is_more_than_noise(path, C, y):
        logger.warning(
            "C = %.3g was chosen at the edge of the path (%.3g to %.3g); a wider Cs may do better",
            C, Cs[0], Cs[-1],
        )  # fmt: skip
    return on_edge


def _is_more_than_noise(path: list[Candidate], C: float, y: Array) -> bool:
    """Whether the accuracy at C is above that of the largest class, and of any C but the ends."""
    at = next(point["accuracy"] for point in path if point["C"] == C)
    inside = max((point["accuracy"] for point in path if point["C"] != C), default=0.0)
    chance = np.bincount(y).max() / len(y)
    # Of a share; at a share of 1 or 0 as of one row beside it.
    share = min(max(at, 1 / len(y)), 1 - 1 / len(y))
    error = np.sqrt(share * (1 - share) / len(y))
    return bool(at > chance + 2 * error and at > inside + error)
