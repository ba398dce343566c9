"""The objective of a linear model: its value, its gradient, and products with its Hessian.

For weights w with sum 1, scores ``s_i = W x_i + b`` and a loss l it is

    f(W, b) = sum_i w_i l(s_i, y_i) + penalty / 2 ||W||²

    gradient         G' X + penalty W          with  g_i = w_i dl/ds_i
    Hessian product  (L(V x_i))' X + penalty V with  L = w_i d²l/ds_i²

The intercept is the last column of W, with ones as its feature and without penalty. Each line is
two products with the rows, one to score them and one to gather what the loss made of the scores.

The preconditioner is an approximate inverse of the Hessian. With the eigenvectors V and eigenvalues
e of the rows' covariance, and c_k for the mean second derivative of the loss by score k, the
Hessian of that score's coefficients is close to ``V diag(c_k e + penalty) V'``, whose inverse is
known.

Only values and gradients decide where a search ends, so there are three numeric types. `dtype` is
that of values and gradients, float32 or float64. Where the processor has native bfloat16,
`product_dtype` is bfloat16 for Hessian products and the preconditioner, which only guide a step;
and `far_dtype` is bfloat16 for values and gradients far from the optimum. `widen` replaces them by
wider ones once rounding keeps a step from improving anything. On a processor with bfloat16, the
far type and the bfloat16 preconditioner together made a sweep of 45 strengths over 10,829 × 1,280
features 1.1 to 1.2 times as quick as bfloat16 Hessian products alone (benchmarks/heads_notes.md).
On other processors all three types are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transferkit.solvers.losses import Loss
from transferkit.solvers.rows import SMALL, StandardizedRows

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["PenalizedObjective", "Point", "quick_dtype"]

FEW = range(4, 49)  # columns for which row-major products are quicker
# In products with fewer numbers than this, bfloat16 saves less time than the conversion takes.
LARGE = 2**24


def quick_dtype(device: torch.device) -> torch.dtype | None:
    """Find a numeric type whose products are native and much quicker than float32, if any."""
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    # An older PyTorch can't tell, so float32 is used.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if native and torch.backends.mkldnn.enabled else None


@dataclass(frozen=True, eq=False)
class Point:
    """The objective's value and derivatives at one point.

    Parameters
    ----------
    theta : Tensor of shape (n_problems, n_scores, d + 1)
        The place: coefficients, the intercept last.
    value : Tensor of shape (n_problems,)
        The objective, float64.
    gradient : Tensor of the shape of `theta`
        Its gradient, float64.
    curvature : Tensor of shape (n_problems, n_scores)
        Mean second derivative of the loss by each score.
    loss_state : Tensor of shape (n_problems, n_scores, n_samples)
        What Hessian products at this place need of the loss.
    dtype : torch.dtype
        The type in which value and gradient were computed.
    """

    theta: Tensor
    value: Tensor
    gradient: Tensor
    curvature: Tensor
    loss_state: Tensor
    dtype: torch.dtype


class PenalizedObjective:
    """A weighted mean loss with an L2 penalty, for one or several problems on the same rows.

    Parameters
    ----------
    rows : StandardizedRows
        Rows.
    loss : Loss
        Of the same rows.
    penalty : Tensor of shape (n_problems,)
        Strengths of the penalty, for weights that sum to 1.

    Attributes
    ----------
    shape : tuple of int
        That of the parameters: (n_problems, n_scores, d + 1).
    dtype, product_dtype, far_dtype : torch.dtype
        Of values and gradients; of Hessian products; of values far from the optimum.
    n_gradients, n_products : int
        Values with gradients, and Hessian products, computed so far.
    """

    def __init__(self, rows: StandardizedRows, loss: Loss, penalty: Tensor) -> None:
        import torch

        self.rows, self.loss, self.penalty = rows, loss, penalty
        self.shape = (len(penalty), loss.n_scores, rows.d + 1)
        size = rows.n * rows.d
        self.dtype = torch.float64 if size <= SMALL else rows.dtype
        quick = None
        if self.dtype == torch.float32 and size * len(penalty) * loss.n_scores > LARGE:
            quick = quick_dtype(rows.device)
        self.product_dtype = quick or self.dtype
        self.far_dtype = self.product_dtype if rows.is_in_memory else self.dtype
        # The penalty of each parameter; the intercept's column has none.
        ridge = penalty[:, None, None].expand(-1, 1, self.shape[2]).clone()
        ridge[:, :, -1] = 0
        self.ridge = ridge
        self.n_products = self.n_gradients = 0

    def widen(self) -> bool:
        """Replace the narrowest type by a wider one. Return False if there is none."""
        import torch

        if self.far_dtype != self.dtype:
            self.far_dtype = self.dtype
            return True
        if self.product_dtype != self.dtype:
            self.product_dtype = self.dtype
            return True
        if self.dtype == torch.float32:
            self.dtype = self.product_dtype = self.far_dtype = torch.float64
            return True
        return False

    def evaluate(self, theta: Tensor, *, is_far: bool = False) -> Point:
        """Compute value and gradient, and what Hessian products there need.

        Parameters
        ----------
        theta : Tensor
            The place, of the shape `shape`, float64.
        is_far : bool, default=False
            Whether it is far from the optimum, where `far_dtype` will do.
        """
        import torch

        dtype = self.far_dtype if is_far else self.dtype
        coef, intercept = self._split(theta, dtype)
        value = torch.zeros(self.shape[0], dtype=torch.float64, device=theta.device)
        gradient = torch.zeros_like(theta)
        curvature = torch.zeros(self.shape[:2], dtype=torch.float64, device=theta.device)
        # In one piece: small pieces between the large blocks of rows would keep the memory of
        # blocks that are gone from being used for the next ones.
        state = torch.empty(
            (*self.shape[:2], self.rows.n), dtype=self.product_dtype, device=theta.device
        )
        for part, block in self.rows.blocks(dtype):
            scores = _score(block, coef, intercept).view(*self.shape[:2], -1)
            each, slope, own = self.loss.differentiate(scores.to(self.dtype), part)
            value += each
            gradient += self._gather(slope.to(dtype), block)
            state[..., part] = own
            curvature += self.loss.curvature(state[..., part], part)
        self.n_gradients += 1
        value += 0.5 * (self.ridge * theta.square()).sum(dim=(1, 2))
        return Point(theta, value, gradient + self.ridge * theta, curvature, state, dtype)

    def hessian_product(self, point: Point, v: Tensor) -> Tensor:
        """Multiply the Hessian at a point with a vector of the shape `shape`, float64."""
        coef, intercept = self._split(v, self.product_dtype)
        product = self.ridge * v
        for part, block in self.rows.blocks(self.product_dtype):
            change = _score(block, coef, intercept).view(*self.shape[:2], -1)
            state = point.loss_state[..., part]
            product += self._gather(self.loss.hessian_product(change, state, part), block)
        self.n_products += 1
        return product

    def precondition(self, point: Point, r: Tensor) -> Tensor:
        """Multiply the approximate inverse of the Hessian at a point with a vector."""
        import torch

        values, V = self.rows.spectrum.values, self.rows.vectors(self.product_dtype)
        c = point.curvature.clamp(min=1e-12)[:, :, None]
        inverse = 1 / (c * values.double() + self.penalty[:, None, None])
        turned = (r[:, :, :-1].to(V.dtype) @ V) * inverse.to(V.dtype)
        z = torch.cat([(turned @ V.T).double(), r[:, :, -1:] / c], dim=2)
        # Adding the same to all classes changes no probability: the optimum sums to zero.
        return z - z.mean(dim=1, keepdim=True) if self.shape[1] > 1 else z

    def _split(self, theta: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Coefficients and intercepts of all problems, one score per row."""
        flat = theta.flatten(0, 1).to(dtype)
        return flat[:, :-1].contiguous(), flat[:, -1:]

    def _gather(self, slope: Tensor, block: Tensor) -> Tensor:
        """Turn derivatives by a block's scores into derivatives by the parameters."""
        import torch

        flat = slope.flatten(0, 1)
        by_intercept = flat.sum(dim=1, dtype=torch.float64)
        return torch.cat([(flat @ block).double(), by_intercept[:, None]], dim=1).view(self.shape)


def _score(block: Tensor, coef: Tensor, intercept: Tensor) -> Tensor:
    """Class-major scores. With few classes, a row-major product takes two thirds of the time."""
    import torch

    if len(coef) in FEW:
        return torch.addmm(intercept.T, block, coef.T).T.contiguous()
    return torch.addmm(intercept, coef, block.T)
