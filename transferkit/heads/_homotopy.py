"""Minima along falling strengths of the penalty, each foretold by the ones before."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from transferkit.heads._design import Design
from transferkit.heads._losses import Loss
from transferkit.heads._newton import Start, State, minimise

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["follow"]

ORDER = 2  # points that foretell the next along a path; more of them amplify their errors


def follow(
    design: Design, loss: Loss, penalties: Tensor, *, tol: float, max_iter: int
) -> Iterator[State]:
    """Find the minima along falling strengths of the penalty, each from the ones before.

    Solutions change smoothly with the logarithm of the strength, so the next start is on
    the line through the last two.

    Parameters
    ----------
    design, loss, tol, max_iter
        As in `minimise`.
    penalties : Tensor of shape (n_strengths, n_problems)
        Strengths, falling.

    Yields
    ------
    State
        For each row of `penalties`.
    """
    import torch

    known: list[tuple[float, Tensor]] = []
    for penalty in penalties:
        at = -float(penalty[0].log())
        start = None
        if known:
            shares = _shares(known[-ORDER:], at)
            flat = torch.stack([share * theta for share, theta in shares]).sum(dim=0)
            start = Start(flat[:, :-1], flat[:, -1])
        found = minimise(design, loss, penalty, tol=tol, max_iter=max_iter, start=start)
        known.append((at, torch.cat([found.coef, found.intercept[:, None]], dim=1)))
        yield found


def _shares(known: list[tuple[float, Tensor]], at: float) -> list[tuple[float, Tensor]]:
    """Lagrange's weights of known points for the polynomial's value elsewhere."""
    shares = []
    for i, (x, theta) in enumerate(known):
        others = [other for j, (other, _) in enumerate(known) if j != i and other != x]
        shares.append((math.prod((at - other) / (x - other) for other in others), theta))
    return shares
