"""What both tasks of the svm head share: the parameters, the map of the features, the path."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.kernel_approximation import Nystroem
from sklearn.utils.validation import check_is_fitted, validate_data

from transferkit.heads._inputs import Array, accepted, check_choice, check_positive, check_share
from transferkit.heads._problems import Problems
from transferkit.heads._rows import standardised

__all__ = ["C_FIXED", "Machine"]

# Candidates of C for models that are linear in the features, or in the kernel's.
CS = {"linear": np.geomspace(1e-6, 1, 7), "nystroem": np.geomspace(1e-2, 1e3, 6)}
# Used by the exact kernel machine, and where nothing can be held out.
C_FIXED = {"linear": 1e-3, "nystroem": 10.0, "exact": 10.0}
# The path only ranks candidates a decade apart, for which a rough solution is enough.
LOOSE = 50


class Machine(BaseEstimator):
    """What both tasks share: the parameters, the map of the features, the linear path."""

    def __init__(
        self,
        kernel: str = "rbf",
        *,
        C: Any = "auto",
        gamma: Any = "scale",
        n_exact: int = 3000,
        n_landmarks: int = 1000,
        validation_fraction: float = 0.2,
        tol: float = 1e-4,
        max_iter: int = 1000,
        random_state: Any = 0,
    ) -> None:
        self.kernel = kernel
        self.C = C
        self.gamma = gamma
        self.n_exact = n_exact
        self.n_landmarks = n_landmarks
        self.validation_fraction = validation_fraction
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

    def _check_parameters(self) -> None:
        check_choice("kernel", self.kernel, ("rbf", "linear"))
        if self.C != "auto":
            check_positive("C", self.C, or_else='"auto" or ')
        if self.gamma != "scale":
            check_positive("gamma", self.gamma, or_else='"scale" or ')
        if self.n_exact != 0:
            check_positive("n_exact", self.n_exact, kind=Integral, or_else="0 or ")
        check_positive("n_landmarks", self.n_landmarks, kind=Integral)
        check_share("validation_fraction", self.validation_fraction)
        check_positive("tol", self.tol)
        check_positive("max_iter", self.max_iter, kind=Integral)

    def _map(self, X: Array, weight: Array | None) -> Array:
        """Choose the solver, and bring the features where it works."""
        self.solver_ = "linear"
        if self.kernel == "rbf":
            self.solver_ = "exact" if len(X) <= self.n_exact else "nystroem"
        scaled, self.mean_, self.scale_ = standardised(X, weight)
        # Standardised features have variance 1, so that is 1 over their number.
        self.gamma_ = 1 / X.shape[1] if self.gamma == "scale" else float(self.gamma)
        self.kernel_map_ = None
        if self.solver_ == "nystroem":
            self.kernel_map_ = Nystroem(
                gamma=self.gamma_,
                n_components=min(self.n_landmarks, len(X)),
                random_state=self.random_state,
            ).fit(scaled)
            return np.asarray(self.kernel_map_.transform(scaled), dtype=X.dtype)
        return scaled

    def _mapped(self, X: ArrayLike) -> Array:
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=accepted(X), reset=False)
        placed = np.empty_like(rows, subok=False)
        np.subtract(rows, self.mean_, out=placed, casting="same_kind")
        np.divide(placed, self.scale_, out=placed, casting="same_kind")
        if self.kernel_map_ is not None:
            placed = self.kernel_map_.transform(placed)
        return np.asarray(placed)

    def _fit_linear(
        self, X: Array, Y: Array, weight: Array | None, held: Array | None, epsilon: float | None
    ) -> None:
        """Choose C by the held-out loss, and fit at it on all rows."""
        self.C_path_: list[dict[str, float]] = []
        self.C_ = C_FIXED[self.solver_] if self.C == "auto" else float(self.C)
        if held is not None:
            train_weight, test_weight = (None, None) if weight is None else (
                weight[~held], weight[held],
            )  # fmt: skip
            problems = Problems.margins(X[~held], Y[~held], train_weight, epsilon=epsilon)
            test = [(X, np.flatnonzero(held))]
            path = problems.path(
                CS[self.solver_], test, tol=LOOSE * self.tol, max_iter=self.max_iter
            )
            for C, _, scores in path:
                loss = 1 - Y[held] * scores if epsilon is None else abs(Y[held] - scores) - epsilon
                each = (np.maximum(0, loss) ** 2).mean(axis=1)
                self.C_path_.append({"C": C, "loss": float(np.average(each, weights=test_weight))})
                if len(self.C_path_) > 1 and self.C_path_[-1]["loss"] > self.C_path_[-2]["loss"]:
                    break  # past the best, and every larger C takes longer
            self.C_ = min(self.C_path_, key=lambda point: point["loss"])["C"]
        problems = Problems.margins(X, Y, weight, epsilon=epsilon)
        found = problems.solve(self.C_, tol=self.tol, max_iter=self.max_iter)
        self.n_iter_ = found.n_iter
        self.coef_, self.intercept_ = found.coef.astype(X.dtype), found.intercept.astype(X.dtype)
