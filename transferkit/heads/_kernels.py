"""The radial kernel, ``exp(-gamma |a - b|²)``, of some rows and as a whole matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RadialMatrix", "radial"]

STEP = 512  # rows of a block of the whole matrix: 1 MB in float32


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
