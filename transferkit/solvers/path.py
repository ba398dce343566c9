"""Minima along falling strengths of the penalty, each foretold by its neighbours.

Solutions change smoothly with the logarithm of the strength, so each is started where those
before it lead. Of a single problem with few scores only every third is: those between are
started on the polynomial through the solutions around them, and solved several at a time. The
rows are read once for all of them, and a product with forty columns takes little longer than
one with ten.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from transferkit.solvers.losses import Loss
from transferkit.solvers.newton import Start, State, minimise
from transferkit.solvers.objective import FEW
from transferkit.solvers.rows import SMALL, Design

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["follow"]

EVERY = 3
BEFORE = 2  # solutions that foretell the next; more of them amplify their errors
AROUND = 4  # solutions that foretell one between them
# Strengths solved side by side. With more, those who stop on the way would pay for the rest.
AT_ONCE = 4


def follow(
    design: Design, loss: Loss, penalties: Tensor, *, tol: float, max_iter: int
) -> Iterator[State]:
    """Find the minima along falling strengths of the penalty.

    Whoever stops on the way has paid for a few strengths more than were taken.

    Parameters
    ----------
    design, loss, tol, max_iter
        As in `minimise`.
    penalties : Tensor of shape (n_strengths, n_problems)
        Strengths, falling.

    Yields
    ------
    State
        For each row of `penalties`; its counts of steps and products are those of all that were
        solved with it.
    """
    path = _Path(design, loss, penalties, tol, max_iter)
    n, n_problems = penalties.shape
    at_once = min(AT_ONCE, FEW[-1] // loss.n_scores) if n_problems == 1 else 1
    # Rows that are made anew for each product leave no memory for several.
    is_worth = design.is_kept and design.n * design.d > SMALL
    if at_once < 2 or n < 2 * EVERY or not is_worth:
        yield from path.led(list(range(n)))
        return
    ends = sorted({*range(0, n, EVERY), n - 1})
    led = zip(ends, path.led(ends), strict=True)
    known = dict([next(led)])
    others: dict[int, State] = {}
    for i in range(n):
        if i not in known and i not in others:
            some = [j for j in range(i, n) if j not in ends][:at_once]
            while max(known) < min(n - 1, some[-1]):
                known |= [next(led)]
            others = dict(zip(some, path.between(some, known), strict=True))
        yield known[i] if i in known else others[i]


class _Path:
    """Strengths of one or several problems on the same rows."""

    def __init__(
        self, design: Design, loss: Loss, penalties: Tensor, tol: float, max_iter: int
    ) -> None:
        self.design, self.loss, self.penalties = design, loss, penalties
        self.tol, self.max_iter = tol, max_iter
        self.at = (-penalties[:, 0].log()).tolist()

    def led(self, chosen: list[int]) -> Iterator[State]:
        """Solve one after the other, from those before."""
        known: dict[int, State] = {}
        for i in chosen:
            start = self._foretold(known, i) if known else None
            found = self._minimum(self.penalties[i], start)
            known = {**dict(list(known.items())[1 - BEFORE :]), i: found}
            yield found

    def between(self, chosen: list[int], known: dict[int, State]) -> list[State]:
        """Solve side by side, from those around; of a single problem."""
        import torch

        starts = []
        for i in chosen:
            near = sorted(known, key=lambda j: abs(self.at[j] - self.at[i]))[:AROUND]
            starts.append(self._foretold({j: known[j] for j in near}, i))
        coef, intercept, boost = (
            torch.cat([getattr(start, name) for start in starts])
            for name in ("coef", "intercept", "boost")
        )
        found = self._minimum(self.penalties[chosen, 0], Start(coef, intercept, boost))
        return [found.only(k) for k in range(len(chosen))]

    def _minimum(self, penalty: Tensor, start: Start | None) -> State:
        return minimise(
            self.design, self.loss, penalty, tol=self.tol, max_iter=self.max_iter, start=start
        )

    def _foretold(self, known: dict[int, State], i: int) -> Start:
        """Lagrange's polynomial through known solutions; of equal strengths the last counts."""
        import torch

        known_at = {self.at[j]: state for j, state in known.items()}
        shares = []
        for x in known_at:
            others = [other for other in known_at if other != x]
            shares.append(math.prod((self.at[i] - other) / (x - other) for other in others))
        states = list(zip(shares, known_at.values(), strict=True))
        coef = sum(share * state.coef for share, state in states)
        intercept = sum(share * state.intercept for share, state in states)
        boost = torch.stack([state.boost for state in known.values()]).amax(dim=0)
        return Start(coef, intercept, boost)
