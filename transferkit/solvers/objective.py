"""The objective of linear heads: value, gradient, products with the Hessian, preconditioner.

Only values and gradients decide where a search ends. So three types may stand side by side: the
one of these, float32 or float64 (`dtype`); bfloat16, where the processor has it, for products
inside a Newton step and for the preconditioner, which only guide it (`quick`); and the one of
values and gradients far from the optimum (`rough`). Each gives way to a wider one once rounding
keeps a step from improving anything (`refine`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transferkit.solvers.losses import Loss
from transferkit.solvers.rows import SMALL, Design

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["FEW", "Objective", "Point", "quick_dtype"]

FEW = range(4, 49)  # columns for which row-major products are quicker
# Fewer numbers than this in a product of rows and coefficients don't pay for bfloat16.
LARGE = 2**24


def quick_dtype(device: torch.device) -> torch.dtype | None:
    """Tell the numeric type whose products are native and much quicker than float32, if any."""
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    # An older PyTorch can't tell, and then float32 it is.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if native and torch.backends.mkldnn.enabled else None


@dataclass(frozen=True, eq=False)
class Point:
    """What is known about one place; tensors as in `solvers.newton.State` and `Loss`."""

    theta: Tensor
    value: Tensor
    gradient: Tensor
    curvature: Tensor
    memory: list[Tensor]
    dtype: torch.dtype


class Objective:
    """What is minimised. Parameters are held as (n_problems, n_scores, d + 1), intercept last.

    Parameters
    ----------
    design : Design
        Rows.
    loss : Loss
        Of the same rows.
    penalty : Tensor of shape (n_problems,)
        Strengths of the penalty, for weights that sum to 1.
    """

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
        self.rough = self.quick if design.is_kept else self.dtype
        # Above the intercept's column there is no penalty.
        ridge = penalty[:, None, None].expand(-1, 1, self.shape[2]).clone()
        ridge[:, :, -1] = 0
        self.ridge = ridge
        self.n_products = self.n_gradients = 0

    def refine(self) -> bool:
        """Go on in a wider type after a step that improved nothing, if there is one."""
        import torch

        if self.rough != self.dtype:
            self.rough = self.dtype
            return True
        if self.quick != self.dtype:
            self.quick = self.dtype
            return True
        if self.dtype == torch.float32:
            self.dtype = self.quick = self.rough = torch.float64
            return True
        return False

    def evaluated(self, theta: Tensor, *, roughly: bool = False) -> Point:
        """Value, gradient and what products with the Hessian need."""
        import torch

        dtype = self.rough if roughly else self.dtype
        coef, intercept = self._split(theta, dtype)
        value = torch.zeros(self.shape[0], dtype=torch.float64, device=theta.device)
        gradient = torch.zeros_like(theta)
        curvature = torch.zeros(self.shape[:2], dtype=torch.float64, device=theta.device)
        memory = []
        for part, rows in self.design.blocks(dtype):
            scores = _scored(rows, coef, intercept).view(*self.shape[:2], -1)
            each, slope, kept = self.loss.slopes(scores.to(self.dtype), part)
            value += each
            gradient += self._gathered(slope.to(dtype), rows)
            kept = kept.to(self.quick)
            curvature += self.loss.curvature(kept, part)
            memory.append(kept)
        self.n_gradients += 1
        value += 0.5 * (self.ridge * theta.square()).sum(dim=(1, 2))
        return Point(theta, value, gradient + self.ridge * theta, curvature, memory, dtype)

    def bent(self, point: Point, v: Tensor) -> Tensor:
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

    def preconditioned(self, point: Point, r: Tensor) -> Tensor:
        """Residuals divided by what the spectrum says of the Hessian."""
        import torch

        values, V = self.design.spectrum.values, self.design.vectors(self.quick)
        c = point.curvature.clamp(min=1e-12)[:, :, None]
        inverse = 1 / (c * values.double() + self.penalty[:, None, None])
        turned = (r[:, :, :-1].to(V.dtype) @ V) * inverse.to(V.dtype)
        z = torch.cat([(turned @ V.T).double(), r[:, :, -1:] / c], dim=2)
        # Adding the same to all classes changes no probability: the optimum sums to zero.
        return z - z.mean(dim=1, keepdim=True) if self.shape[1] > 1 else z


def _scored(rows: Tensor, coef: Tensor, intercept: Tensor) -> Tensor:
    """Class-major scores; of a few classes the row-major product is half as quick again."""
    import torch

    if len(coef) in FEW:
        return torch.addmm(intercept.T, rows, coef.T).T.contiguous()
    return torch.addmm(intercept, coef, rows.T)
