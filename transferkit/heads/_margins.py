"""The pure part of the svm head: linear models with squared margins, by L-BFGS.

The same problems as scikit-learn's `LinearSVC` and `LinearSVR` with squared losses, but
all columns at once as matrix products, which is many times quicker on dense features;
and the intercept isn't penalised.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

__all__ = ["Solution", "solve"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Solution:
    """What the solver found.

    Parameters
    ----------
    coef : ndarray of shape (n_outputs, n_features)
        Coefficients, float64.
    intercept : ndarray of shape (n_outputs,)
        Intercepts, float64.
    n_iter : int
        Iterations.
    converged : bool
        Whether it arrived before the most iterations allowed.
    """

    coef: Array
    intercept: Array
    n_iter: int
    converged: bool


def solve(
    X: Array,
    Y: Array,
    weight: Array | None = None,
    *,
    C: float,
    epsilon: float | None = None,
    tol: float = 1e-4,
    max_iter: int = 1000,
    start: Solution | None = None,
) -> Solution:
    """Minimise ``C * sum(weight * loss²) + ||coef||² / 2``.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Features; the products are in their type.
    Y : ndarray of shape (n_samples, n_outputs)
        -1 and 1 for the hinge, or numbers.
    weight : ndarray of shape (n_samples,), default=None
        Sample weights.
    C : float
        Inverse of the L2 strength.
    epsilon : float, default=None
        None for the hinge, ``max(0, 1 - Y * score)``; a number for ``max(0, |score - Y| -
        epsilon)``.
    tol : float, default=1e-4
        Largest component of the gradient, over C times the sum of the weights.
    max_iter : int, default=1000
        Most iterations.
    start : Solution, default=None
        Where to start, instead of zero.
    """
    n, d = X.shape
    k = Y.shape[1]
    w = np.ones((n, 1), X.dtype) if weight is None else weight[:, None].astype(X.dtype)
    Y = Y.astype(X.dtype)
    total = float(w.sum(dtype=np.float64))
    penalty = 1 / (C * total)

    def objective(flat: Array) -> tuple[float, Array]:
        coef, intercept = flat[: k * d].reshape(k, d), flat[k * d :]
        scores = X @ coef.astype(X.dtype).T + intercept.astype(X.dtype)
        if epsilon is None:
            loss = np.maximum(0, 1 - Y * scores)
            slope = -2 * w * loss * Y
        else:
            residual = scores - Y
            loss = np.maximum(0, np.abs(residual) - X.dtype.type(epsilon))
            slope = 2 * w * loss * np.sign(residual)
        value = float((w * loss**2).sum(dtype=np.float64)) / total + penalty * (coef**2).sum() / 2
        gradient = np.concatenate(
            [
                ((slope.T @ X) / total + penalty * coef).ravel(),
                slope.sum(axis=0, dtype=np.float64) / total,
            ]
        )
        return value, gradient.astype(np.float64)

    first = np.zeros(k * (d + 1))
    if start is not None:
        first = np.concatenate([start.coef.ravel(), start.intercept])
    # The tolerance on the value is off: float32 products would end the search too early.
    options = {"maxiter": max_iter, "gtol": tol, "ftol": 0.0, "maxfun": 10 * max_iter}
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
    # A line search that can't improve the value has reached the limit of the number type.
    return Solution(
        found.x[: k * d].reshape(k, d),
        found.x[k * d :],
        int(found.nit),
        bool(found.status != 1),
    )
