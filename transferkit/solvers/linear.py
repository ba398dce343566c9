"""Linear problems on the same rows, at one strength or along a path of them.

The objective is scikit-learn's, ``C * sum(weight * loss) + ||coef||² / 2``, and the solver
wants weights that sum to 1: both agree with ``penalty = 1 / (C * sum(weight))``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from transferkit.solvers.losses import Hinge, Insensitive, Loss, Sigmoid, Softmax
from transferkit.solvers.newton import Start, State, minimise
from transferkit.solvers.path import follow
from transferkit.solvers.rows import Design, KnownSpectrum, Part

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Fit", "Problems"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Fit:
    """Solved problems, one entry or row per problem where nothing else is said.

    Parameters
    ----------
    coef : ndarray of shape (n_problems * n_scores, n_features)
        Coefficients on the features as given: per class, or a single row for two classes.
    intercept : ndarray of shape (n_problems * n_scores,)
        The intercepts.
    objective : ndarray
        ``C * sum(weight * loss) + ||coef||² / 2``, on the standardised features.
    gradient : ndarray
        Largest component of the gradient of the mean loss with its penalty.
    gap : ndarray
        Estimated distance of the objective from its optimum, relative to it.
    converged : ndarray of bool
        Whether gradient and gap are within the tolerance.
    n_iter : int
        Newton steps, of all problems together.
    """

    coef: Array
    intercept: Array
    objective: Array
    gradient: Array
    gap: Array
    converged: Array
    n_iter: int


class Problems:
    """Problems on the same rows that differ in targets, weights or strength.

    Parameters
    ----------
    design : Design
        Rows.
    loss : Loss
        Of these rows.
    total : ndarray of shape (n_problems or 1,)
        Sums of the samples' weights.
    n_problems : int
        Number of problems.
    """

    def __init__(self, design: Design, loss: Loss, total: Array, n_problems: int) -> None:
        self.design, self.loss, self.total = design, loss, total
        self.n_problems = n_problems

    @classmethod
    def logistic(
        cls,
        parts: Sequence[Part],
        y: Array,
        weight: Array | None = None,
        *,
        standardize: bool = True,
        smoothing: float = 0.0,
        device: str = "cpu",
        spectrum: KnownSpectrum | None = None,
    ) -> Self:
        """Logistic regressions: of one label, or of several labels, one against the rest.

        Parameters
        ----------
        parts : sequence of (ndarray, ndarray or None)
            Features, as in `Design`.
        y : ndarray of shape (n_samples,) or (n_samples, n_problems)
            Class numbers from 0, each of which occurs; or 0 and 1 for several labels.
        weight : ndarray of shape (n_samples,), (n_samples, n_problems) or None
            Sample weights; 0 keeps a sample out of a problem.
        standardize : bool, default=True
            Whether the penalty is on features of variance 1.
        smoothing : float, default=0
            Label smoothing.
        device : str, default="cpu"
            Where to compute.
        spectrum : callable, default=None
            As in `Design`.
        """
        import torch  # late: the list of heads shouldn't wait for it

        shared = weight if weight is None or weight.ndim == 1 else weight.mean(axis=1)
        design = Design(parts, shared, standardize=standardize, device=device, spectrum=spectrum)
        unit, total = _unit(design, weight, len(y))
        n_classes = int(y.max()) + 1 if y.ndim == 1 else 2
        if n_classes > 2:
            codes = torch.tensor(y, dtype=torch.int64, device=design.device)
            return cls(design, Softmax(codes, unit, n_classes, smoothing), total, 1)
        signs = _targets(design, 2.0 * y.reshape(len(y), -1) - 1)
        return cls(design, Sigmoid(signs, unit, smoothing), total, len(signs))

    @classmethod
    def margins(
        cls,
        X: Array,
        Y: Array,
        weight: Array | None = None,
        *,
        epsilon: float | None = None,
        spectrum: KnownSpectrum | None = None,
    ) -> Self:
        """Squared margins, a problem per column: those of `LinearSVC` and `LinearSVR`.

        But the intercept isn't penalised, as liblinear's is.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Features.
        Y : ndarray of shape (n_samples, n_problems)
            -1 and 1 for the hinge, or numbers.
        weight : ndarray of shape (n_samples,) or None
            Sample weights.
        epsilon : float, default=None
            None for the hinge, ``max(0, 1 - Y * score)²``; a number for
            ``max(0, |score - Y| - epsilon)²``.
        spectrum : callable, default=None
            As in `Design`.
        """
        design = Design([(X, None)], weight, standardize=False, spectrum=spectrum)
        unit, total = _unit(design, weight, len(Y))
        targets = _targets(design, Y)
        loss = Hinge(targets, unit) if epsilon is None else Insensitive(targets, unit, epsilon)
        return cls(design, loss, total, len(targets))

    def solve(
        self,
        C: float | Array,
        *,
        tol: float,
        max_iter: int,
        start: tuple[Array, Array] | None = None,
    ) -> Fit:
        """Solve at one strength, or one for each problem.

        Parameters
        ----------
        C : float or ndarray of shape (n_problems,)
            Inverse of the strength of the penalty.
        tol, max_iter
            As in `transferkit.solvers.newton.minimise`.
        start : (ndarray, ndarray), default=None
            Coefficients and intercepts on the features as given to start from, not zero.
        """
        first = None if start is None else self._start(*start)
        state = minimise(
            self.design, self.loss, self._penalty(C), tol=tol, max_iter=max_iter, start=first
        )
        return self._fit(C, state)

    def path(
        self, Cs: Array, held: Sequence[Part], *, tol: float, max_iter: int
    ) -> Iterator[tuple[float, Fit, Array]]:
        """Solve along ascending C, each from its neighbours.

        Parameters
        ----------
        Cs : ndarray of shape (n_strengths,)
            Inverses of the strength, ascending.
        held : sequence of (ndarray, ndarray or None)
            Features to score.
        tol, max_iter
            As in `transferkit.solvers.newton.minimise`.

        Yields
        ------
        (float, Fit, ndarray)
            C; its solution; scores of the rows of `held`.
        """
        import torch

        placed = self.design.placed(held)
        penalties = torch.stack([self._penalty(C) for C in Cs.tolist()])
        states = follow(self.design, self.loss, penalties, tol=tol, max_iter=max_iter)
        for C, state in zip(Cs.tolist(), states, strict=True):
            scores = self.design.scores(placed, state.coef, state.intercept)
            yield C, self._fit(C, state), scores

    def _start(self, coef: Array, intercept: Array) -> Start:
        import torch

        ones = torch.ones(self.n_problems, dtype=torch.float64, device=self.design.device)
        return Start(*self.design.taken(coef, intercept), ones)

    def _penalty(self, C: float | Array) -> Tensor:
        import torch

        penalty = np.broadcast_to(1 / (np.asarray(C) * self.total), self.n_problems)
        return torch.tensor(penalty.copy(), dtype=torch.float64, device=self.design.device)

    def _fit(self, C: float | Array, state: State) -> Fit:
        coef, intercept = self.design.given(state.coef, state.intercept)
        value = state.value.cpu().numpy()
        return Fit(
            coef,
            intercept,
            objective=value * np.asarray(C) * self.total,
            gradient=state.gradient.cpu().numpy(),
            gap=state.gap.cpu().numpy() / np.where(value == 0, 1, np.abs(value)),
            converged=state.is_converged.cpu().numpy(),
            n_iter=state.n_iter,
        )


def _unit(design: Design, weight: Array | None, n: int) -> tuple[Tensor, Array]:
    """Weights that sum to 1 for each problem, and what they summed to."""
    import torch

    w = np.ones((n, 1)) if weight is None else weight.reshape(n, -1)
    total = w.sum(axis=0, dtype=np.float64)
    return torch.tensor((w / total).T, dtype=design.dtype, device=design.device), total


def _targets(design: Design, Y: Array) -> Tensor:
    import torch

    return torch.tensor(np.ascontiguousarray(Y.T), dtype=design.dtype, device=design.device)
