"""Regularisation path: solve for decreasing penalties, each started from the solutions before.

A solution θ is a smooth function of ``t = -log(penalty)``. So it is predicted on the line through
the last two solutions, and Newton steps correct it:

    θ(t) ≈ (t - t1) / (t0 - t1) θ0 + (t - t0) / (t1 - t0) θ1

This is the secant predictor of numerical continuation (Allgower and Georg 1990, "Numerical
continuation methods", chapter 2). Polynomials through more solutions amplify their errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from transferkit.solvers.losses import Loss
from transferkit.solvers.newton import Minimum, Start, minimise
from transferkit.solvers.rows import StandardizedRows

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["extrapolated_start", "regularization_path"]


def regularization_path(
    rows: StandardizedRows, loss: Loss, penalties: Tensor, *, tol: float, max_iter: int
) -> Iterator[Minimum]:
    """Find the minima along decreasing penalties, each when it is asked for.

    Parameters
    ----------
    rows, loss, tol, max_iter
        As in `transferkit.solvers.newton.minimise`.
    penalties : Tensor of shape (n_strengths, n_problems)
        Strengths, falling; those of the problems in the same ratio at each step.

    Yields
    ------
    Minimum
        For each row of `penalties`.
    """
    solved: list[tuple[float, Minimum]] = []
    for penalty in penalties:
        t = -float(penalty[0].log())
        start = extrapolated_start(solved, t) if solved else None
        minimum = minimise(rows, loss, penalty, tol=tol, max_iter=max_iter, start=start)
        solved = [*solved[-1:], (t, minimum)]
        yield minimum


def extrapolated_start(solved: Sequence[tuple[float, Minimum]], t: float) -> Start:
    """Predict the solution at t.

    Parameters
    ----------
    solved : sequence of (float, Minimum)
        One or two solutions, each with its t.
    t : float
        ``-log(penalty)`` of the wanted one.
    """
    import torch

    gain_ratio = torch.stack([found.gain_ratio for _, found in solved]).amax(dim=0)
    t1, last = solved[-1]
    t0, first = solved[0]
    if t0 == t1:
        return Start(last.coef, last.intercept, gain_ratio)
    share0, share1 = (t - t1) / (t0 - t1), (t - t0) / (t1 - t0)
    return Start(
        share0 * first.coef + share1 * last.coef,
        share0 * first.intercept + share1 * last.intercept,
        gain_ratio,
    )
