"""Truncated Newton steps with a preconditioner: the solver of linear models.

It minimises the objective f of `transferkit.solvers.objective`, for one or several problems side by
side on the same rows. With g and H for gradient and Hessian of f, it repeats

1. `_predicted_gap`: stop where the largest component of g and the predicted distance of f from
   its minimum are within the tolerance. The quadratic model of f falls by ``g' H^-1 g / 2``; with
   the preconditioner P for ``H^-1`` it is known without a step, as ``g' P g / 2``. What the step
   before gained beyond that, `gain_ratio`, corrects it.
2. `_newton_step`: solve ``H p = -g`` by preconditioned conjugate gradients, and only as far as
   pays (the forcing terms of an inexact Newton method).
3. `_line_search`: go along p as far as f falls.

A product with H costs as much as a gradient, two products with the rows. With the preconditioner a
dozen of them do what takes plain L-BFGS a hundred.

References
----------
Dembo and Steihaug (1983), "Truncated-Newton algorithms for large-scale unconstrained
optimization"; Lin, Weng and Keerthi (2008), "Trust region Newton method for large-scale logistic
regression"; Nocedal and Wright (2006), "Numerical optimization", algorithm 7.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferkit.solvers.losses import Loss
from transferkit.solvers.objective import PenalizedObjective, Point
from transferkit.solvers.rows import StandardizedRows

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Minimum", "Start", "minimise"]

# A step is taken if the value falls by this share of what the slope predicts (Armijo).
SUFFICIENT = 1e-4
MAX_PRODUCTS = 60  # of one Newton step
MAX_HALVINGS = 30
# Forcing terms, shares of the squared residual at which conjugate gradients end. If the last step
# would need one below LAST, this is not the last step, and FAR is enough.
LAST, FAR = 1e-2, 0.5
# Gradients in bfloat16 give a useful direction until the relative gap falls below this.
FAR_GAP = 2**-7


@dataclass(frozen=True, eq=False)
class Start:
    """Coefficients of all problems.

    Parameters
    ----------
    coef : Tensor of shape (n_problems * n_scores, d)
        Float64.
    intercept : Tensor of shape (n_problems * n_scores,)
        Float64.
    gain_ratio : Tensor of shape (n_problems,)
        How much more a Newton step gains there than the preconditioner alone predicts, at least 1.
    """

    coef: Tensor
    intercept: Tensor
    gain_ratio: Tensor


@dataclass(frozen=True, eq=False)
class Minimum(Start):
    """Where the solver ended, with one entry per problem.

    Parameters
    ----------
    coef, intercept, gain_ratio
        As in `Start`.
    value : Tensor of shape (n_problems,)
        The objective.
    gradient : Tensor of shape (n_problems,)
        Largest component of the gradient.
    gap : Tensor of shape (n_problems,)
        Predicted distance of the objective from its minimum.
    is_converged : Tensor of bool of shape (n_problems,)
        Whether gradient and gap are within the tolerance.
    n_iter : int
        Newton steps.
    n_products : int
        Products with the Hessian in all of them.
    n_gradients : int
        Values with gradients.
    """

    value: Tensor
    gradient: Tensor
    gap: Tensor
    is_converged: Tensor
    n_iter: int
    n_products: int
    n_gradients: int


def minimise(
    rows: StandardizedRows,
    loss: Loss,
    penalty: Tensor,
    *,
    tol: float,
    max_iter: int,
    start: Start | None = None,
) -> Minimum:
    """Find the minimum.

    Parameters
    ----------
    rows : StandardizedRows
        Rows.
    loss : Loss
        Of the same rows.
    penalty : Tensor of shape (n_problems,)
        Strengths of the penalty, for weights that sum to 1.
    tol : float
        Largest component of the gradient, and largest predicted distance from the minimum
        relative to the value, at which a problem is solved.
    max_iter : int
        Most Newton steps.
    start : Start, default=None
        Where to start, instead of zero.

    Returns
    -------
    Minimum
    """
    import torch

    objective = PenalizedObjective(rows, loss, penalty)
    point = objective.evaluate(_theta(objective, start), is_far=start is None)
    gain_ratio = torch.ones_like(point.value) if start is None else start.gain_ratio
    n_iter = 0
    while True:
        z, slope, gap = _predicted_gap(objective, point, gain_ratio)
        steepest = _steepest(point)
        is_solved = (steepest <= tol) & (gap <= tol * point.value.abs())
        is_over = bool(is_solved.all()) or n_iter >= max_iter
        if is_over and point.dtype == objective.dtype:
            break
        if is_over:  # what was found in bfloat16 is looked at again
            point = objective.evaluate(point.theta)
            continue
        step, gain, gap_left = _newton_step(objective, point, z, slope, gap, tol)
        gain_ratio = torch.where(is_solved, gain_ratio, (gain / slope).clamp(1, 100))
        step[is_solved] = 0
        is_far = bool((gap_left > FAR_GAP * point.value.abs()).all())
        moved = _line_search(objective, point, step, is_far=is_far)
        n_iter += 1
        if moved is None and not objective.widen():
            break
        point = moved or objective.evaluate(point.theta, is_far=True)
    flat = point.theta.flatten(0, 1)
    return Minimum(
        flat[:, :-1], flat[:, -1], gain_ratio, point.value, steepest, gap, is_solved,
        n_iter, objective.n_products, objective.n_gradients,
    )  # fmt: skip


def _theta(objective: PenalizedObjective, start: Start | None) -> Tensor:
    """Parameters to start from, the intercept last."""
    import torch

    if start is None:
        return torch.zeros(objective.shape, dtype=torch.float64, device=objective.rows.device)
    return torch.cat([start.coef, start.intercept[:, None]], dim=1).view(objective.shape)


def _predicted_gap(
    objective: PenalizedObjective, point: Point, gain_ratio: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the preconditioned gradient Pg, the slope ``g'Pg``, and the predicted gap."""
    z = objective.precondition(point, point.gradient)
    slope = _dot(point.gradient, z)
    return z, slope, 0.5 * gain_ratio * slope


def _newton_step(
    objective: PenalizedObjective, point: Point, z: Tensor, slope: Tensor, gap: Tensor, tol: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve ``H p = -g`` by preconditioned conjugate gradients.

    Each problem ends by its own residual r, once ``r'Pr`` has fallen by the forcing term.

    Parameters
    ----------
    z, slope, gap
        What `_predicted_gap` returned.
    tol : float
        As in `minimise`.

    Returns
    -------
    (Tensor, Tensor, Tensor)
        The step p; what it gains by the quadratic model, ``-g'p``; and the gap that is left.
    """
    import torch

    # The last step should just reach the tolerance. Before it the quadratic model is only
    # rough, and so may be its solution.
    forcing = 0.1 * tol * point.value.abs() / gap.clamp(min=1e-300)
    forcing = torch.where(forcing < LAST, FAR, forcing.clamp(max=0.1))
    r, p = -point.gradient, torch.zeros_like(z)
    d, rho = -z, slope
    active = slope > 0
    for _ in range(MAX_PRODUCTS):
        Hd = objective.hessian_product(point, d)
        dHd = _dot(d, Hd)
        active = active & (dHd > 0)
        alpha = torch.where(active, rho / dHd, 0)[:, None, None]
        p, r = p + alpha * d, r - alpha * Hd
        z = objective.precondition(point, r)
        new = _dot(r, z)
        beta = torch.where(active, new / rho, 0)[:, None, None]
        rho = torch.where(active, new, rho)
        active = active & (new > forcing * slope)
        if not bool(active.any()):
            break
        d = z + beta * d
    return p, -_dot(point.gradient, p), forcing * gap


def _line_search(
    objective: PenalizedObjective, point: Point, step: Tensor, *, is_far: bool
) -> Point | None:
    """Backtrack along a step until the value has fallen enough (Armijo); None if it never does.

    A length that fails is replaced by the minimum of the parabola through both values and the
    slope, kept between a tenth and a half of it.
    """
    import torch

    slope = _dot(point.gradient, step)
    length = torch.ones_like(slope)
    noise = 4 * torch.finfo(point.dtype).eps * point.value.abs()
    for _ in range(MAX_HALVINGS):
        theta = point.theta + length[:, None, None] * step
        found = objective.evaluate(theta, is_far=is_far)
        rise = found.value - point.value
        fails = ~(rise <= SUFFICIENT * length * slope + noise)
        if not bool(fails.any()):
            if bool((_steepest(found) < _steepest(point)).any() | (rise < -noise).any()):
                return found
            return None
        best = -slope * length**2 / (2 * (rise - slope * length))
        best = torch.where(best.isfinite(), best, 0)
        length = torch.where(fails, torch.clamp(best, 0.1 * length, 0.5 * length), length)
        length[length < 1e-6] = 0
        if not bool((length > 0).any()):
            return None
    return None


def _steepest(point: Point) -> Tensor:
    """Largest component of the gradient of each problem."""
    return point.gradient.abs().amax(dim=(1, 2))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(1, 2))
