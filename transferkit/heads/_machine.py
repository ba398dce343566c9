"""What both tasks of the svm head share: the parameters, the choice of solver and of C."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from transferkit.heads._inputs import Array, check_choice, check_positive, check_share, checked_rows
from transferkit.solvers.linear import LinearProblems
from transferkit.solvers.standardize import standardize_features, standardize_with
from transferkit.solvers.statistics import FeatureStatistics

__all__ = ["C_FIXED", "Machine"]

# Candidates of C for models that are linear in the features, or in the kernel's.
CS = {"linear": np.geomspace(1e-6, 1, 7), "squares": np.geomspace(3e-2, 1e2, 8)}
CS["nystroem"] = CS["squares"]
# Used by the exact kernel machine, and where nothing can be held out.
C_FIXED = {"linear": 1e-3, "squares": 10.0, "nystroem": 10.0, "exact": 10.0}
# The path only ranks candidates, for which a rough solution is enough.
LOOSE = 50
BLOCK = 2**24  # kernel values held at once: 64 MB in float32


class Machine(BaseEstimator):
    """What both tasks share: the parameters, the choice of solver and of C."""

    def __init__(
        self,
        kernel: str = "rbf",
        *,
        C: Any = "auto",
        gamma: Any = "scale",
        n_exact: int = 3000,
        n_whole: int = 15_000,
        n_landmarks: int = 2000,
        validation_fraction: float = 0.2,
        tol: float = 1e-4,
        max_iter: int = 1000,
        random_state: Any = 0,
    ) -> None:
        self.kernel = kernel
        self.C = C
        self.gamma = gamma
        self.n_exact = n_exact
        self.n_whole = n_whole
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
        for name in ("n_exact", "n_whole"):
            if getattr(self, name) != 0:
                check_positive(name, getattr(self, name), kind=Integral, or_else="0 or ")
        check_positive("n_landmarks", self.n_landmarks, kind=Integral)
        check_share("validation_fraction", self.validation_fraction)
        check_positive("tol", self.tol)
        check_positive("max_iter", self.max_iter, kind=Integral)

    def _scaled(self, X: Array, weight: Array | None, known: FeatureStatistics | None) -> Array:
        """Choose the solver, and bring the features to mean 0 and variance 1."""
        self.solver_ = "linear"
        if self.kernel == "rbf":
            self.solver_ = (
                "exact" if len(X) <= self.n_exact
                else "squares" if len(X) <= self.n_whole
                else "nystroem"
            )  # fmt: skip
        scaled: Array
        scaled, self.mean_, self.scale_ = standardize_features(X, weight, known=known)
        # Standardised features have variance 1, so that is 1 over their number.
        self.gamma_ = 1 / X.shape[1] if self.gamma == "scale" else float(self.gamma)
        return scaled

    def _placed(self, X: ArrayLike) -> Array:
        """Rows to predict, checked and brought where those of `fit` were."""
        check_is_fitted(self)
        rows = checked_rows(self, X)
        return standardize_with(rows, self.mean_, self.scale_, rows.dtype)

    def _scores(self, rows: Array) -> Array:
        """Scores of `_placed` rows by all solvers but scikit-learn's, (n_samples, n_scores)."""
        if self.solver_ == "linear":
            return np.asarray(rows @ self.coef_.T + self.intercept_)
        import torch  # late: the list of heads shouldn't wait for it

        from transferkit.heads._kernels import radial

        scores = np.empty((len(rows), len(self.intercept_)), rows.dtype)
        terms = torch.from_numpy(self.landmarks_.astype(rows.dtype, copy=False))
        coef = torch.from_numpy(self.dual_coef_.T.astype(rows.dtype))
        step = max(1, BLOCK // len(terms))
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            values = radial(torch.from_numpy(rows[part]), terms, self.gamma_) @ coef
            scores[part] = values.numpy() + self.intercept_
        return scores

    def _fit_scores(
        self,
        X: Array,
        Y: Array,
        weight: Array | None,
        *,
        held: Array | None,
        epsilon: float | None,
        known: FeatureStatistics | None,
    ) -> None:
        """Choose C by the held-out loss if it isn't fixed, and fit at it on all rows."""
        self.C_path_: list[dict[str, float]] = []
        self.C_ = C_FIXED[self.solver_] if self.C == "auto" else float(self.C)
        if self.solver_ == "linear":
            # That of the features before they were standardised, once they are.
            spectrum = known.spectrum if known else None
            self._fit_linear(X, Y, weight, held, {"epsilon": epsilon, "spectrum": spectrum})
        else:
            self._fit_squares(X, Y, weight, held, epsilon)

    def _fit_linear(
        self, X: Array, Y: Array, weight: Array | None, held: Array | None, about: dict[str, Any]
    ) -> None:
        if held is not None:
            train_weight, test_weight = (None, None) if weight is None else (
                weight[~held], weight[held],
            )  # fmt: skip
            problems = LinearProblems.margins(X[~held], Y[~held], train_weight, **about)
            test = [(X, np.flatnonzero(held))]
            path = problems.path(CS["linear"], test, tol=LOOSE * self.tol, max_iter=self.max_iter)
            for C, _, scores in path:
                self._judge(C, Y[held], scores, test_weight, about["epsilon"])
                if len(self.C_path_) > 1 and self.C_path_[-1]["loss"] > self.C_path_[-2]["loss"]:
                    break  # past the best, and every larger C takes longer
            self._choose()
        problems = LinearProblems.margins(X, Y, weight, **about)
        found = problems.solve(self.C_, tol=self.tol, max_iter=self.max_iter)
        self.n_iter_ = found.n_iter
        self.coef_, self.intercept_ = found.coef.astype(X.dtype), found.intercept.astype(X.dtype)

    def _fit_squares(
        self, X: Array, Y: Array, weight: Array | None, held: Array | None, epsilon: float | None
    ) -> None:
        import torch

        rows = torch.from_numpy(np.ascontiguousarray(X))
        machine = self._kernel_machine(rows)
        targets = torch.tensor(Y, dtype=rows.dtype)
        w = torch.ones(len(X), dtype=rows.dtype)
        if weight is not None:
            w = torch.tensor(weight, dtype=rows.dtype)
        if held is not None:
            Cs = CS[self.solver_]
            path = machine.solve(
                targets, w * torch.from_numpy(~held), (0.5 / Cs).tolist(),
                tol=LOOSE * self.tol, max_iter=self.max_iter,
            )  # fmt: skip
            test_weight = None if weight is None else weight[held]
            for C, found in zip(Cs.tolist(), path, strict=True):
                self._judge(C, Y[held], found.fitted.numpy()[held], test_weight, epsilon)
            self._choose()
        (found,) = machine.solve(targets, w, [0.5 / self.C_], tol=self.tol, max_iter=self.max_iter)
        self.landmarks_ = machine.terms.numpy()
        self.n_iter_ = max(1, found.n_iter)
        self.dual_coef_, self.intercept_ = found.coef.T.numpy().copy(), found.intercept.numpy()

    def _kernel_machine(self, rows: Any) -> Any:
        """The least-squares machine of the chosen solver on some rows."""
        import torch

        from transferkit.heads._squares import Landmarks, WholeKernel

        random = check_random_state(self.random_state)
        if self.solver_ == "nystroem":
            chosen = random.permutation(len(rows))[: self.n_landmarks]
            return Landmarks(rows, rows[torch.from_numpy(chosen)], self.gamma_)
        generator = torch.Generator().manual_seed(int(random.randint(2**31)))
        return WholeKernel(rows, self.gamma_, generator)

    def _judge(
        self, C: float, Y: Array, scores: Array, weight: Array | None, epsilon: float | None
    ) -> None:
        """Enter a candidate's loss on held-out rows."""
        loss = 1 - Y * scores if epsilon is None else abs(Y - scores) - epsilon
        each = (np.maximum(0, loss) ** 2).mean(axis=1)
        self.C_path_.append({"C": C, "loss": float(np.average(each, weights=weight))})

    def _choose(self) -> None:
        self.C_ = min(self.C_path_, key=lambda point: point["loss"])["C"]
