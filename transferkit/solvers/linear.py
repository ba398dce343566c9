"""Linear models as heads and protocols pose them: logistic regressions and squared margins.

The objective is scikit-learn's,

    C sum_i w_i loss(W x_i + b, y_i) + ||W||² / 2,

whereas the solver's weights sum to 1. Both have the same minimum for
``penalty = 1 / (C sum_i w_i)``. `LinearProblems` holds problems that share their rows and differ
in targets, weights or C; it solves them at one C, or along a path of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from transferkit.solvers.losses import (
    Loss,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    SquaredEpsilonInsensitive,
    SquaredHinge,
)
from transferkit.solvers.newton import Minimum, Start, minimise
from transferkit.solvers.path import regularization_path
from transferkit.solvers.rows import KnownSpectrum, Part, StandardizedRows

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LinearFit", "LinearProblems"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class LinearFit:
    """Solved problems, one entry or row per problem where nothing else is said.

    Parameters
    ----------
    coef : ndarray of shape (n_problems * n_scores, n_features)
        Coefficients on the original features: per class, or a single row for two classes.
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


class LinearProblems:
    """Linear models of the same rows that differ in targets, weights or C.

    Parameters
    ----------
    rows : StandardizedRows
        Rows.
    loss : Loss
        Of these rows.
    total : ndarray of shape (n_problems or 1,)
        Sums of the samples' weights.
    n_problems : int
        Number of problems.
    """

    def __init__(self, rows: StandardizedRows, loss: Loss, total: Array, n_problems: int) -> None:
        self.rows, self.loss, self.total = rows, loss, total
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
            Features, as in `StandardizedRows`.
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
            As in `StandardizedRows`.
        """
        import torch  # late: the list of heads shouldn't wait for it

        shared = weight if weight is None or weight.ndim == 1 else weight.mean(axis=1)
        rows = StandardizedRows(
            parts, shared, standardize=standardize, device=device, spectrum=spectrum
        )
        weights, total = _sum_to_one(rows, weight, len(y))
        n_classes = int(y.max()) + 1 if y.ndim == 1 else 2
        if n_classes > 2:
            codes = torch.tensor(y, dtype=torch.int64, device=rows.device)
            return cls(rows, SoftmaxCrossEntropy(codes, weights, n_classes, smoothing), total, 1)
        signs = _targets(rows, 2.0 * y.reshape(len(y), -1) - 1)
        return cls(rows, SigmoidCrossEntropy(signs, weights, smoothing), total, len(signs))

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
        """Support vector machines with squared losses, as `LinearSVC` and `LinearSVR`.

        Each column of `Y` is a problem. Unlike liblinear's, the intercept isn't penalised.

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
            As in `StandardizedRows`.
        """
        rows = StandardizedRows([(X, None)], weight, standardize=False, spectrum=spectrum)
        weights, total = _sum_to_one(rows, weight, len(Y))
        targets = _targets(rows, Y)
        loss: Loss
        if epsilon is None:
            loss = SquaredHinge(targets, weights)
        else:
            loss = SquaredEpsilonInsensitive(targets, weights, epsilon)
        return cls(rows, loss, total, len(targets))

    def solve(
        self,
        C: float | Array,
        *,
        tol: float,
        max_iter: int,
        start: tuple[Array, Array] | None = None,
    ) -> LinearFit:
        """Solve at one C, or one for each problem.

        Parameters
        ----------
        C : float or ndarray of shape (n_problems,)
            Inverse of the strength of the penalty.
        tol, max_iter
            As in `transferkit.solvers.newton.minimise`.
        start : (ndarray, ndarray), default=None
            Coefficients and intercepts on the original features to start from, instead of zero.
        """
        first = None if start is None else self._start_from(*start)
        state = minimise(
            self.rows, self.loss, self._penalty(C), tol=tol, max_iter=max_iter, start=first
        )
        return self._fit(C, state)

    def path(
        self, Cs: Array, held: Sequence[Part], *, tol: float, max_iter: int
    ) -> Iterator[tuple[float, LinearFit, Array]]:
        """Solve along ascending C, each started from the solutions before it.

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
        (float, LinearFit, ndarray)
            C; its solution; scores of the rows of `held`.
        """
        import torch

        others = self.rows.standardize(held)
        penalties = torch.stack([self._penalty(C) for C in Cs.tolist()])
        states = regularization_path(self.rows, self.loss, penalties, tol=tol, max_iter=max_iter)
        for C, state in zip(Cs.tolist(), states, strict=True):
            scores = self.rows.scores(others, state.coef, state.intercept)
            yield C, self._fit(C, state), scores

    def _start_from(self, coef: Array, intercept: Array) -> Start:
        import torch

        ones = torch.ones(self.n_problems, dtype=torch.float64, device=self.rows.device)
        return Start(*self.rows.from_original(coef, intercept), ones)

    def _penalty(self, C: float | Array) -> Tensor:
        import torch

        penalty = np.broadcast_to(1 / (np.asarray(C) * self.total), self.n_problems)
        return torch.tensor(penalty.copy(), dtype=torch.float64, device=self.rows.device)

    def _fit(self, C: float | Array, state: Minimum) -> LinearFit:
        coef, intercept = self.rows.to_original(state.coef, state.intercept)
        value = state.value.cpu().numpy()
        return LinearFit(
            coef,
            intercept,
            objective=value * np.asarray(C) * self.total,
            gradient=state.gradient.cpu().numpy(),
            gap=state.gap.cpu().numpy() / np.where(value == 0, 1, np.abs(value)),
            converged=state.is_converged.cpu().numpy(),
            n_iter=state.n_iter,
        )


def _sum_to_one(rows: StandardizedRows, weight: Array | None, n: int) -> tuple[Tensor, Array]:
    """Weights divided by their sum, for each problem, and the sums."""
    import torch

    w = np.ones((n, 1)) if weight is None else weight.reshape(n, -1)
    total = w.sum(axis=0, dtype=np.float64)
    return torch.tensor((w / total).T, dtype=rows.dtype, device=rows.device), total


def _targets(rows: StandardizedRows, Y: Array) -> Tensor:
    import torch

    return torch.tensor(np.ascontiguousarray(Y.T), dtype=rows.dtype, device=rows.device)
