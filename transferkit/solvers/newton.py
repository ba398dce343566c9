"""The solver of linear heads: truncated Newton steps, preconditioned by the spectrum.

It minimises, for one or several problems side by side on the same rows,

    f(W, b) = sum_i w_i loss(W x_i + b, y_i) + penalty / 2 ||W||²        (sum_i w_i = 1)

A Newton step solves ``H p = -g`` by conjugate gradients; a product with H costs as much as
a gradient (two products with X). In the basis V of the rows' covariance ``V diag(s) V'``
the Hessian of class k is close to ``V diag(c_k s + penalty) V'``, c_k being the mean second
derivative of the loss, so its inverse is the preconditioner: a dozen products do what takes
plain L-BFGS a hundred (Dembo and Steihaug 1983, "Truncated-Newton algorithms for large-scale
unconstrained optimization"; Lin, Weng and Keerthi 2008, "Trust region Newton method for
large-scale logistic regression").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferkit.solvers.losses import Loss
from transferkit.solvers.objective import Objective, Point
from transferkit.solvers.rows import Design

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Start", "State", "minimise"]

# A step is taken if it brings this share of the decrease that its slope promises (Armijo).
SUFFICIENT = 1e-4
MAX_PRODUCTS = 60  # of one Newton step
MAX_HALVINGS = 30
# Shares of the squared residual that end a step's conjugate gradients: one that needs less
# than the first to arrive isn't the last step, and makes do with the second.
LAST, FAR = 1e-2, 0.5
# Relative distance from the optimum down to which bfloat16 tells where to go.
ROUGH = 2**-7


@dataclass(frozen=True, eq=False)
class Start:
    """Coefficients of all problems.

    Parameters
    ----------
    coef : Tensor of shape (n_problems * n_scores, d)
        Float64.
    intercept : Tensor of shape (n_problems * n_scores,)
        Float64.
    boost : Tensor of shape (n_problems,)
        How much more a step gains there than the preconditioner alone foresees, at least 1.
    """

    coef: Tensor
    intercept: Tensor
    boost: Tensor


@dataclass(frozen=True, eq=False)
class State(Start):
    """Where the solver ended, with one entry per problem.

    Parameters
    ----------
    coef, intercept, boost
        As in `Start`.
    value : Tensor of shape (n_problems,)
        The objective.
    gradient : Tensor of shape (n_problems,)
        Largest component of the gradient.
    gap : Tensor of shape (n_problems,)
        Estimated distance of the objective from the optimum.
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

    def only(self, k: int) -> State:
        """Return one of the problems; the counts stay those of all."""
        n_scores = len(self.coef) // len(self.value)
        own, one = slice(k * n_scores, (k + 1) * n_scores), slice(k, k + 1)
        return State(
            self.coef[own], self.intercept[own], self.boost[one], self.value[one],
            self.gradient[one], self.gap[one], self.is_converged[one],
            self.n_iter, self.n_products, self.n_gradients,
        )  # fmt: skip


def minimise(
    design: Design,
    loss: Loss,
    penalty: Tensor,
    *,
    tol: float,
    max_iter: int,
    start: Start | None = None,
) -> State:
    """Find the minimum.

    Parameters
    ----------
    design : Design
        Rows.
    loss : Loss
        Of the same rows.
    penalty : Tensor of shape (n_problems,)
        Strengths of the penalty, for weights that sum to 1.
    tol : float
        Largest component of the gradient, and largest estimated distance from the optimum
        relative to the value, at which a problem is solved.
    max_iter : int
        Most Newton steps.
    start : Start, default=None
        Where to start, instead of zero.

    Returns
    -------
    State
    """
    return _Search(Objective(design, loss, penalty)).ended(start, tol, max_iter)


class _Search:
    """One minimisation."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def ended(self, start: Start | None, tol: float, max_iter: int) -> State:
        """Search until solved, or no further."""
        import torch

        theta = torch.zeros(
            self.objective.shape, dtype=torch.float64, device=self.objective.design.device
        )
        if start is not None:
            theta = torch.cat([start.coef, start.intercept[:, None]], dim=1).view(
                self.objective.shape
            )
        point = self.objective.evaluated(theta, roughly=start is None)
        boost = torch.ones_like(point.value) if start is None else start.boost
        n_iter = 0
        while True:
            down, gap = self._foreseen(point, boost)
            steepest = point.gradient.abs().amax(dim=(1, 2))
            is_solved = (steepest <= tol) & (gap <= tol * point.value.abs())
            is_over = bool(is_solved.all()) or n_iter >= max_iter
            if is_over and point.dtype == self.objective.dtype:
                break
            if is_over:
                point = self.objective.evaluated(point.theta)
                continue
            step, gain, left = self._step(point, down, gap, tol)
            boost = torch.where(is_solved, boost, (gain / down[1]).clamp(1, 100))
            step[is_solved] = 0
            moved = self._moved(point, step, roughly=bool((left > ROUGH * point.value.abs()).all()))
            n_iter += 1
            if moved is None and not self.objective.refine():
                break
            point = moved or self.objective.evaluated(point.theta, roughly=True)
        flat = point.theta.flatten(0, 1)
        return State(
            flat[:, :-1], flat[:, -1], boost, point.value, steepest, gap, is_solved,
            n_iter, self.objective.n_products, self.objective.n_gradients,
        )  # fmt: skip

    def _foreseen(self, point: Point, boost: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return the preconditioned gradient with its slope, and the gap that they suggest."""
        z = self.objective.preconditioned(point, point.gradient)
        slope = _dot(point.gradient, z)
        return (z, slope), 0.5 * boost * slope

    def _step(
        self, point: Point, down: tuple[Tensor, Tensor], gap: Tensor, tol: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Solve ``H p = -g`` by conjugate gradients; return p, -g'p, and the gap left."""
        import torch

        z, first = down
        # The last step should just reach the tolerance. Before that the quadratic model is
        # rough, and so may be its solution.
        forcing = 0.1 * tol * point.value.abs() / gap.clamp(min=1e-300)
        forcing = torch.where(forcing < LAST, FAR, forcing.clamp(max=0.1))
        r, p = -point.gradient, torch.zeros_like(z)
        d, rho = -z, first
        active = first > 0
        for _ in range(MAX_PRODUCTS):
            Hd = self.objective.bent(point, d)
            bend = _dot(d, Hd)
            active = active & (bend > 0)
            alpha = torch.where(active, rho / bend, 0)[:, None, None]
            p, r = p + alpha * d, r - alpha * Hd
            z = self.objective.preconditioned(point, r)
            new = _dot(r, z)
            beta = torch.where(active, new / rho, 0)[:, None, None]
            rho = torch.where(active, new, rho)
            active = active & (new > forcing * first)
            if not bool(active.any()):
                break
            d = z + beta * d
        return p, -_dot(point.gradient, p), forcing * gap

    def _moved(self, point: Point, step: Tensor, *, roughly: bool) -> Point | None:
        """Go along the step as far as it pays; None if it doesn't pay anywhere."""
        import torch

        slope = _dot(point.gradient, step)
        length = torch.ones_like(slope)
        noise = 4 * torch.finfo(point.dtype).eps * point.value.abs()
        for _ in range(MAX_HALVINGS):
            theta = point.theta + length[:, None, None] * step
            found = self.objective.evaluated(theta, roughly=roughly)
            rise = found.value - point.value
            fails = ~(rise <= SUFFICIENT * length * slope + noise)
            if not bool(fails.any()):
                if bool((_size(found) < _size(point)).any() | (rise < -noise).any()):
                    return found
                return None
            # The minimum of the parabola through both values and the slope.
            best = -slope * length**2 / (2 * (rise - slope * length))
            best = torch.where(best.isfinite(), best, 0)
            length = torch.where(fails, torch.clamp(best, 0.1 * length, 0.5 * length), length)
            length[length < 1e-6] = 0
            if not bool((length > 0).any()):
                return None
        return None


def _size(point: Point) -> Tensor:
    return point.gradient.abs().amax(dim=(1, 2))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(1, 2))
