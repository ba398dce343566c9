"""The pure parts of the linear head: problems, paths, score. Arrays in, arrays out.

The objective is scikit-learn's, ``C * sum(weight * loss) + ||coef||² / 2``, and the solver
wants weights that sum to 1: both agree with ``penalty = 1 / (C * sum(weight))``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transferkit.heads._design import Design, Part
from transferkit.heads._losses import Loss, Sigmoid, Softmax
from transferkit.heads._newton import Start, State, follow, minimise

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Fit", "Problems", "score"]

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
    """Logistic regressions on the same rows: of one label, or of several, one against the rest.

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
    """

    def __init__(
        self,
        parts: Sequence[Part],
        y: Array,
        weight: Array | None = None,
        *,
        standardize: bool = True,
        smoothing: float = 0.0,
        device: str = "cpu",
    ) -> None:
        import torch  # late: the list of heads shouldn't wait for it

        shared = weight if weight is None or weight.ndim == 1 else weight.mean(axis=1)
        self.design = Design(parts, shared, standardize=standardize, device=device)
        w = np.ones((len(y), 1)) if weight is None else weight.reshape(len(y), -1)
        self.total = w.sum(axis=0, dtype=np.float64)
        dtype = self.design.dtype
        unit = torch.tensor((w / self.total).T, dtype=dtype, device=device)
        n_classes = int(y.max()) + 1 if y.ndim == 1 else 2
        self.loss: Loss
        if n_classes > 2:
            codes = torch.tensor(y, dtype=torch.int64, device=device)
            self.loss = Softmax(codes, unit, n_classes, smoothing)
        else:
            signs = torch.tensor(2.0 * y.reshape(len(y), -1).T - 1, dtype=dtype, device=device)
            self.loss = Sigmoid(signs, unit, smoothing)
        self.n_problems = 1 if y.ndim == 1 else y.shape[1]

    def solve(
        self, C: float | Array, *, tol: float, max_iter: int, start: tuple[Array, Array] | None
    ) -> Fit:
        """Solve at one strength, or one for each problem.

        Parameters
        ----------
        C : float or ndarray of shape (n_problems,)
            Inverse of the strength of the penalty.
        tol, max_iter
            As in `transferkit.heads._newton.minimise`.
        start : (ndarray, ndarray) or None
            Coefficients and intercepts on the features as given to start from, not zero.
        """
        first = None if start is None else Start(*self.design.taken(*start))
        state = minimise(
            self.design, self.loss, self._penalty(C), tol=tol, max_iter=max_iter, start=first
        )
        return self._fit(C, state)

    def path(
        self, Cs: Array, held: Sequence[Part], *, tol: float, max_iter: int
    ) -> Iterator[tuple[float, Fit, Array]]:
        """Solve along ascending C, each from the ones before.

        Parameters
        ----------
        Cs : ndarray of shape (n_strengths,)
            Inverses of the strength, ascending.
        held : sequence of (ndarray, ndarray or None)
            Features to score.
        tol, max_iter
            As in `transferkit.heads._newton.minimise`.

        Yields
        ------
        (float, Fit, ndarray)
            C; its solution; scores of the rows of `held`.
        """
        import torch

        penalties = torch.stack([self._penalty(C) for C in Cs.tolist()])
        states = follow(self.design, self.loss, penalties, tol=tol, max_iter=max_iter)
        for C, state in zip(Cs.tolist(), states, strict=True):
            scores = self.design.scores(held, state.coef, state.intercept)
            yield C, self._fit(C, state), scores

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


def score(
    log_proba: Array, known: Array, codes: Array, weight: Array | None = None
) -> tuple[float, float]:
    """Accuracy and log loss.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_known)
        Logarithms of the probabilities.
    known : ndarray of shape (n_known,)
        The class numbers of the columns, sorted.
    codes : ndarray of shape (n_samples,)
        The true class numbers. One that isn't known counts as an error, and is left
        out of the log loss, which it would make infinite for every candidate alike.
    weight : ndarray of shape (n_samples,), default=None
        Sample weights.

    Returns
    -------
    (float, float)
        Accuracy; log loss, 0 where no sample's class is known.
    """
    weight = np.ones(len(codes)) if weight is None else weight.astype(np.float64)
    right = known[log_proba.argmax(axis=1)] == codes
    rows = np.flatnonzero(np.isin(codes, known))
    losses = -log_proba[rows, np.searchsorted(known, codes[rows])].astype(np.float64)
    log_loss = np.average(losses, weights=weight[rows]) if len(rows) else 0.0
    return float(np.average(right, weights=weight)), float(log_loss)
