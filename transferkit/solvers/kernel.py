"""Least-squares machines with a kernel, at several strengths side by side.

They minimise ``sum_i w_i (y_i - f(x_i) - b)² + penalty ||f||²`` over functions f of the
kernel's space and the intercept b (Suykens and Vandewalle 1999, "Least squares support
vector machine classifiers"). The solution is ``f(x) = sum_j a_j k(x, x_j)``.

With all rows among the x_j, s = sqrt(w) and a = s v, v solves ``(SKS + penalty) v + s b =
S y`` with ``s'v = 0``: conjugate gradients on the vectors orthogonal to s, where the
intercept and any constant in K drop out. All targets and strengths share each product with
K. The preconditioner is the inverse on the largest eigenvectors of ``SKS``, found from a
sample of its columns (Frangella, Tropp and Udell 2023, "Randomized Nyström
preconditioning", equation 1.3).

With fewer landmarks among the x_j it is ridge regression on the features ``K(x, x_j) L'^-1``,
for which ``LL' = K(x_i, x_j)``: one eigendecomposition serves all strengths (Williams and
Seeger 2001, "Using the Nyström method to speed up kernel machines").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "KernelSolution",
    "LeastSquaresSVM",
    "Nystroem",
    "RadialMatrix",
    "kernel_scores",
    "radial",
]

RANK = 500  # columns that the preconditioner is made of
COLUMNS = 128  # targets × strengths side by side
BLOCK = 2**24  # numbers of a block of kernel values
STEP = 512  # rows of a block of the whole matrix: 1 MB in float32
JITTER = 100  # roundings, added to the diagonal of a kernel that is to be factorised


def radial(A: Tensor, B: Tensor, gamma: float) -> Tensor:
    """Kernel of every row of one array with every row of another.

    Parameters
    ----------
    A : Tensor of shape (n, n_features)
        Rows.
    B : Tensor of shape (m, n_features)
        Rows of the same type.
    gamma : float
        Inverse of the squared width, over 2.

    Returns
    -------
    Tensor of shape (n, m)
        Between 0 and 1.
    """
    products = A @ B.T
    products *= 2 * gamma
    products -= gamma * A.square().sum(dim=1)[:, None]
    products -= gamma * B.square().sum(dim=1)
    # |a - b|² is never negative, but for rounding.
    return products.clamp_(max=0).exp_()


def kernel_scores(
    rows: NDArray[Any], terms: NDArray[Any], coef: NDArray[Any], intercept: NDArray[Any],
    gamma: float,
) -> NDArray[Any]:  # fmt: skip
    """Scores ``sum_j coef_j k(x, x_j) + intercept`` of rows, a block of them at a time.

    Parameters
    ----------
    rows : ndarray of shape (n, n_features)
        Rows.
    terms : ndarray of shape (n_terms, n_features)
        The x_j.
    coef : ndarray of shape (n_terms, n_scores)
        Their coefficients.
    intercept : ndarray of shape (n_scores,)
        Intercepts.
    gamma : float
        As for `radial`.

    Returns
    -------
    ndarray of shape (n, n_scores)
        In the type of the rows.
    """
    import torch  # late: the list of heads shouldn't wait for it

    scores = np.empty((len(rows), len(intercept)), rows.dtype)
    others = torch.from_numpy(terms.astype(rows.dtype, copy=False))
    weights = torch.from_numpy(coef.astype(rows.dtype))
    step = max(1, BLOCK // len(terms))
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        values = radial(torch.from_numpy(rows[part]), others, gamma) @ weights
        scores[part] = values.numpy() + intercept
    return scores


class RadialMatrix:
    """Kernel of every row with every other: half of it, as it is symmetric, in blocks.

    A block that is read for one half serves the other while it is in the cache.

    Parameters
    ----------
    rows : Tensor of shape (n, n_features)
        Rows.
    gamma : float
        As for `radial`.
    """

    def __init__(self, rows: Tensor, gamma: float) -> None:
        self._blocks: list[tuple[slice, slice, Tensor]] = []
        for i in range(0, len(rows), STEP):
            for j in range(i, len(rows), STEP):
                down, right = slice(i, i + STEP), slice(j, j + STEP)
                block = radial(rows[down], rows[right], gamma)
                if i == j:
                    block = ((block + block.T) / 2).fill_diagonal_(1)
                self._blocks.append((down, right, block))

    def product(self, D: Tensor) -> Tensor:
        """Product of rows, (·, n), with the matrix."""
        import torch

        total = torch.zeros_like(D)
        for down, right, block in self._blocks:
            total[:, right].addmm_(D[:, down], block)
            if down != right:
                total[:, down].addmm_(D[:, right], block.T)
        return total


@dataclass(frozen=True, eq=False)
class KernelSolution:
    """A solution at one strength.

    Parameters
    ----------
    coef : Tensor of shape (n_terms, n_targets)
        The a_j.
    intercept : Tensor of shape (n_targets,)
        The intercepts.
    fitted : Tensor of shape (n_rows, n_targets)
        Scores of all rows, those of weight 0 included.
    n_iter : int
        Products with the kernel.
    is_converged : bool
        Whether the residual is within the tolerance.
    """

    coef: Tensor
    intercept: Tensor
    fitted: Tensor
    n_iter: int
    is_converged: bool


class LeastSquaresSVM:
    """All rows are terms of the solution.

    Parameters
    ----------
    rows : Tensor of shape (n, n_features)
        Rows.
    gamma : float
        Of the kernel.
    generator : torch.Generator
        Draws the preconditioner's columns.
    """

    def __init__(self, rows: Tensor, gamma: float, generator: torch.Generator) -> None:
        self.terms, self.generator = rows, generator
        self.gamma, self.K = gamma, RadialMatrix(rows, gamma)

    def solve(
        self, Y: Tensor, weight: Tensor, penalties: list[float], *, tol: float, max_iter: int
    ) -> Iterator[KernelSolution]:
        """Solve at each strength.

        Parameters
        ----------
        Y : Tensor of shape (n, n_targets)
            Targets.
        weight : Tensor of shape (n,)
            Weights; a row of weight 0 is only scored.
        penalties : list of float
            Strengths.
        tol : float
            Squared residual relative to that of no solution.
        max_iter : int
            Most products with the kernel.
        """
        s = weight.sqrt()
        spectrum = self._spectrum(s)
        group = max(1, COLUMNS // Y.shape[1])
        for first in range(0, len(penalties), group):
            some = penalties[first : first + group]
            yield from self._solved(Y, s, some, spectrum, tol, max_iter)

    def _solved(
        self, Y: Tensor, s: Tensor, penalties: list[float], spectrum: tuple[Tensor, Tensor],
        tol: float, max_iter: int,
    ) -> Iterator[KernelSolution]:  # fmt: skip
        import torch

        k = Y.shape[1]
        penalty = torch.tensor(penalties, dtype=Y.dtype).repeat_interleave(k)[:, None]
        target = (s * Y.T).repeat(len(penalties), 1)
        V, KV, R, n_iter = self._descended(target, s, penalty, spectrum, tol, max_iter)
        done = _sizes(R) <= tol * _sizes(_orthogonal(target, s))
        b = (target - s * KV - penalty * V) @ s / s.square().sum()
        for j in range(len(penalties)):
            part = slice(j * k, (j + 1) * k)
            coef, fitted = (s * V[part]).T, KV[part].T + b[part]
            yield KernelSolution(coef, b[part], fitted, n_iter, bool(done[part].all()))

    def _descended(
        self, target: Tensor, s: Tensor, penalty: Tensor, spectrum: tuple[Tensor, Tensor],
        tol: float, max_iter: int,
    ) -> tuple[Tensor, Tensor, Tensor, int]:  # fmt: skip
        """Solve; return v, its product KSv, the residuals, and the number of products."""
        import torch

        values, vectors = spectrum
        scale = (values[0] + penalty) / (values + penalty) - 1
        V, KV, R = torch.zeros_like(target), torch.zeros_like(target), _orthogonal(target, s)
        first = _sizes(R)
        on = torch.nonzero(first > 0)[:, 0]  # problems that aren't solved yet
        left = R[on]
        D = _orthogonal(left + (scale[on] * (left @ vectors)) @ vectors.T, s)
        rho = (left * D).sum(dim=1)
        n_iter = 0
        while len(on) and n_iter < max_iter:
            KD = self.K.product(s * D)
            HD = _orthogonal(s * KD + penalty[on] * D, s)
            length = (rho / (D * HD).sum(dim=1))[:, None]
            V[on] += length * D
            KV[on] += length * KD
            left = left - length * HD
            R[on] = left
            n_iter += 1
            Z = _orthogonal(left + (scale[on] * (left @ vectors)) @ vectors.T, s)
            new = (left * Z).sum(dim=1)
            D = Z + (new / rho)[:, None] * D
            goes_on = _sizes(left) > tol * first[on]
            on, left, D, rho = on[goes_on], left[goes_on], D[goes_on], new[goes_on]
        return V, KV, R, n_iter

    def _spectrum(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Largest eigenvalues, ascending, and eigenvectors, from a sample of the columns."""
        import torch

        rows = torch.nonzero(s > 0)[:, 0]
        chosen = rows[torch.randperm(len(rows), generator=self.generator)[:RANK]]
        columns = radial(self.terms[chosen], self.terms, self.gamma)
        L = _factor(columns[:, chosen])
        F = _orthogonal(s * torch.linalg.solve_triangular(L, columns, upper=False), s)
        values, turn = torch.linalg.eigh(F @ F.T)
        kept = values > 1e-6 * values[-1]
        return values[kept], F.T @ (turn[:, kept] / values[kept].sqrt())


class Nystroem:
    """Some rows are the terms of the solution.

    Parameters
    ----------
    rows : Tensor of shape (n, n_features)
        Rows.
    terms : Tensor of shape (m, n_features)
        Landmarks, m at most n.
    gamma : float
        Of the kernel.
    """

    def __init__(self, rows: Tensor, terms: Tensor, gamma: float) -> None:
        import torch

        self.terms = terms
        self.factor = _factor(radial(terms, terms, gamma))
        self.F = torch.empty(len(rows), len(terms), dtype=rows.dtype)
        step = max(1, BLOCK // len(terms))
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            block = radial(rows[part], terms, gamma)
            self.F[part] = torch.linalg.solve_triangular(self.factor, block.T, upper=False).T

    def solve(
        self, Y: Tensor, weight: Tensor, penalties: list[float], *, tol: float, max_iter: int
    ) -> Iterator[KernelSolution]:
        """Solve at each strength; parameters as for `LeastSquaresSVM`, the last two not needed."""
        import torch

        share = weight / weight.sum()
        mean, level = share @ self.F, share @ Y
        size = self.F.shape[1]
        gram, right = torch.zeros(size, size, dtype=Y.dtype), torch.zeros_like(self.F[:1].T @ Y[:1])
        for first in range(0, len(Y), max(1, BLOCK // size)):
            part = slice(first, first + max(1, BLOCK // size))
            scaled = weight[part].sqrt()[:, None] * (self.F[part] - mean)
            gram.addmm_(scaled.T, scaled)
            right.addmm_(scaled.T, weight[part].sqrt()[:, None] * (Y[part] - level))
        values, turn = torch.linalg.eigh(gram)
        turned = turn.T @ right
        for penalty in penalties:
            W = turn @ (turned / (values.clamp(min=0)[:, None] + penalty))
            b = level - mean @ W
            coef = torch.linalg.solve_triangular(self.factor.T, W, upper=True)
            yield KernelSolution(coef, b, self.F @ W + b, 0, True)


def _orthogonal(Z: Tensor, s: Tensor) -> Tensor:
    """Project rows on the vectors orthogonal to s."""
    projected: Tensor = Z - ((Z @ s) / s.square().sum())[:, None] * s
    return projected


def _sizes(Z: Tensor) -> Tensor:
    """Squared length of each row."""
    squares: Tensor = Z.square().sum(dim=1)
    return squares


def _factor(K: Tensor) -> Tensor:
    """Cholesky's factor of a kernel, with a jitter that grows until there is one."""
    import torch

    unit, jitter = torch.eye(len(K), dtype=K.dtype), JITTER * torch.finfo(K.dtype).eps
    while True:
        L, failed = torch.linalg.cholesky_ex(K + jitter * unit)
        if not bool(failed):
            return torch.as_tensor(L)
        jitter *= 10
