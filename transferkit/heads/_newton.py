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

Only values and gradients decide where it ends. The products inside a step are therefore
computed in bfloat16 where the processor does so natively, and gradients in float32 go on
in float64 once rounding keeps them from improving.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transferkit.heads._design import SMALL, Design
from transferkit.heads._losses import Loss

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Start", "State", "minimise", "quick_dtype"]

# A step is taken if it brings this share of the decrease that its slope promises (Armijo).
SUFFICIENT = 1e-4
MAX_PRODUCTS = 60  # of one Newton step
MAX_HALVINGS = 30
# Shares of the squared residual that end a step's conjugate gradients: one that needs less
# than the first to arrive isn't the last step, and makes do with the second.
LAST, FAR = 1e-2, 0.5
FEW = range(4, 49)  # scores for which row-major products are quicker
# Fewer numbers than this in a product of rows and coefficients don't pay for bfloat16.
LARGE = 2**24


@dataclass(frozen=True, eq=False)
class Start:
    """Coefficients of all problems.

    Parameters
    ----------
    coef : Tensor of shape (n_problems * n_scores, d)
        Float64.
    intercept : Tensor of shape (n_problems * n_scores,)
        Float64.
    """

    coef: Tensor
    intercept: Tensor


@dataclass(frozen=True, eq=False)
class State(Start):
    """Where the solver ended, with one entry per problem.

    Parameters
    ----------
    coef, intercept
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


def quick_dtype(device: torch.device) -> torch.dtype | None:
    """Tell the numeric type whose products are native and much quicker than float32, if any."""
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    # An older PyTorch can't tell, and then float32 it is.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if native and torch.backends.mkldnn.enabled else None


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
    return _Search(design, loss, penalty).ended(start, tol, max_iter)


@dataclass(frozen=True, eq=False)
class _Point:
    """What is known about one place; tensors as in `State` and `Loss`."""

    theta: Tensor
    value: Tensor
    gradient: Tensor
    curvature: Tensor
    memory: list[Tensor]


class _Search:
    """One minimisation. Parameters are held as (n_problems, n_scores, d + 1), intercept last."""

    def __init__(self, design: Design, loss: Loss, penalty: Tensor) -> None:
        import torch

        self.design, self.loss, self.penalty = design, loss, penalty
        self.shape = (len(penalty), loss.n_scores, design.d + 1)
        size = design.n * design.d
        self.dtype = torch.float64 if size <= SMALL else design.dtype
        quick = None
        if self.dtype == torch.float32 and size * len(penalty) * loss.n_scores > LARGE:
            quick = quick_dtype(design.device)
        self.quick = quick or self.dtype
        # Above the intercept's column there is no penalty.
        ridge = penalty[:, None, None].expand(-1, 1, self.shape[2]).clone()
        ridge[:, :, -1] = 0
        self.ridge = ridge
        self.n_products = self.n_gradients = 0

    def ended(self, start: Start | None, tol: float, max_iter: int) -> State:
        """Search until solved, or no further."""
        import torch

        theta = torch.zeros(self.shape, dtype=torch.float64, device=self.design.device)
        if start is not None:
            theta = torch.cat([start.coef, start.intercept[:, None]], dim=1).view(self.shape)
        point = self._evaluated(theta)
        # How much more a step gains than the preconditioner alone foresees.
        boost = torch.ones_like(point.value)
        n_iter = 0
        while True:
            down, gap = self._foreseen(point, boost)
            steepest = point.gradient.abs().amax(dim=(1, 2))
            is_solved = (steepest <= tol) & (gap <= tol * point.value.abs())
            if bool(is_solved.all()) or n_iter >= max_iter:
                break
            step, gain = self._step(point, down, gap, tol)
            boost = torch.where(is_solved, boost, (gain / down[1]).clamp(1, 100))
            step[is_solved] = 0
            moved = self._moved(point, step)
            n_iter += 1
            if moved is None and not self._refine():
                break
            point = moved or self._evaluated(point.theta)
        flat = point.theta.flatten(0, 1)
        return State(
            flat[:, :-1], flat[:, -1], point.value, steepest, gap, is_solved,
            n_iter, self.n_products, self.n_gradients,
        )  # fmt: skip

    def _refine(self) -> bool:
        """Go on in a wider type after a step that improved nothing, if there is one."""
        import torch

        if self.quick != self.dtype:
            self.quick = self.dtype
            return True
        if self.dtype == torch.float32:
            self.dtype = self.quick = torch.float64
            return True
        return False

    def _evaluated(self, theta: Tensor) -> _Point:
        """Value, gradient and what products with the Hessian need."""
        import torch

        coef, intercept = self._split(theta, self.dtype)
        value = torch.zeros(self.shape[0], dtype=torch.float64, device=theta.device)
        gradient = torch.zeros_like(theta)
        curvature = torch.zeros(self.shape[:2], dtype=torch.float64, device=theta.device)
        memory = []
        for part, rows in self.design.blocks(self.dtype):
            scores = _scored(rows, coef, intercept).view(*self.shape[:2], -1)
            each, slope, kept = self.loss.slopes(scores, part)
            value += each
            gradient += self._gathered(slope, rows)
            kept = kept.to(self.quick)
            curvature += self.loss.curvature(kept, part)
            memory.append(kept)
        self.n_gradients += 1
        value += 0.5 * (self.ridge * theta.square()).sum(dim=(1, 2))
        return _Point(theta, value, gradient + self.ridge * theta, curvature, memory)

    def _bent(self, point: _Point, v: Tensor) -> Tensor:
        """Product of the Hessian with a vector, float64."""
        coef, intercept = self._split(v, self.quick)
        product = self.ridge * v
        for (part, rows), memory in zip(self.design.blocks(self.quick), point.memory, strict=True):
            change = _scored(rows, coef, intercept).view(*self.shape[:2], -1)
            product += self._gathered(self.loss.bend(change, memory, part), rows)
        self.n_products += 1
        return product

    def _split(self, theta: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        flat = theta.flatten(0, 1).to(dtype)
        return flat[:, :-1].contiguous(), flat[:, -1:]

    def _gathered(self, slope: Tensor, rows: Tensor) -> Tensor:
        import torch

        flat = slope.flatten(0, 1)
        by_intercept = flat.sum(dim=1, dtype=torch.float64)
        return torch.cat([(flat @ rows).double(), by_intercept[:, None]], dim=1).view(self.shape)

    def _preconditioned(self, point: _Point, r: Tensor) -> Tensor:
        import torch

        spectrum = self.design.spectrum
        c = point.curvature.clamp(min=1e-12)[:, :, None]
        V = spectrum.vectors
        inverse = 1 / (c * spectrum.values.double() + self.penalty[:, None, None])
        turned = (r[:, :, :-1].to(V.dtype) @ V) * inverse.to(V.dtype)
        z = torch.cat([(turned @ V.T).double(), r[:, :, -1:] / c], dim=2)
        # Adding the same to all classes changes no probability: the optimum sums to zero.
        return z - z.mean(dim=1, keepdim=True) if self.shape[1] > 1 else z

    def _foreseen(self, point: _Point, boost: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return the preconditioned gradient with its slope, and the gap that they suggest."""
        z = self._preconditioned(point, point.gradient)
        slope = _dot(point.gradient, z)
        return (z, slope), 0.5 * boost * slope

    def _step(
        self, point: _Point, down: tuple[Tensor, Tensor], gap: Tensor, tol: float
    ) -> tuple[Tensor, Tensor]:
        """Solve ``H p = -g`` by conjugate gradients; return p and -g'p."""
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
            Hd = self._bent(point, d)
            bend = _dot(d, Hd)
            active = active & (bend > 0)
            alpha = torch.where(active, rho / bend, 0)[:, None, None]
            p, r = p + alpha * d, r - alpha * Hd
            z = self._preconditioned(point, r)
            new = _dot(r, z)
            beta = torch.where(active, new / rho, 0)[:, None, None]
            rho = torch.where(active, new, rho)
            active = active & (new > forcing * first)
            if not bool(active.any()):
                break
            d = z + beta * d
        return p, -_dot(point.gradient, p)

    def _moved(self, point: _Point, step: Tensor) -> _Point | None:
        """Go along the step as far as it pays; None if it doesn't pay anywhere."""
        import torch

        slope = _dot(point.gradient, step)
        length = torch.ones_like(slope)
        noise = 4 * torch.finfo(self.dtype).eps * point.value.abs()
        for _ in range(MAX_HALVINGS):
            found = self._evaluated(point.theta + length[:, None, None] * step)
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


def _scored(rows: Tensor, coef: Tensor, intercept: Tensor) -> Tensor:
    """Class-major scores; of a few classes the row-major product is half as quick again."""
    import torch

    if len(coef) in FEW:
        return torch.addmm(intercept.T, rows, coef.T).T.contiguous()
    return torch.addmm(intercept, coef, rows.T)


def _size(point: _Point) -> Tensor:
    return point.gradient.abs().amax(dim=(1, 2))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(1, 2))
