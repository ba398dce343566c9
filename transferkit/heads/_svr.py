"""The regressor of the svm head, but for its name."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin, clone
from sklearn.svm import SVR
from sklearn.utils import Tags

from transferkit.heads._inputs import Array, check_positive, number_rows
from transferkit.heads._machine import C_FIXED, Machine
from transferkit.solvers.holdout import hold_out_unstratified
from transferkit.solvers.standardize import Targets
from transferkit.solvers.statistics import FeatureStatistics

__all__ = ["MachineRegressor"]


class MachineRegressor(RegressorMixin, Machine):
    """See `transferkit.heads.svm.Regressor`; saved models are known by that name."""

    def __init__(
        self,
        kernel: str = "rbf",
        *,
        C: Any = "auto",
        epsilon: float = 0.1,
        gamma: Any = "scale",
        n_exact: int = 3000,
        n_whole: int = 15_000,
        n_landmarks: int = 2000,
        validation_fraction: float = 0.2,
        tol: float = 1e-4,
        max_iter: int = 1000,
        random_state: Any = 0,
    ) -> None:
        super().__init__(
            kernel,
            C=C,
            gamma=gamma,
            n_exact=n_exact,
            n_whole=n_whole,
            n_landmarks=n_landmarks,
            validation_fraction=validation_fraction,
            tol=tol,
            max_iter=max_iter,
            random_state=random_state,
        )
        self.epsilon = epsilon

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
        statistics: FeatureStatistics | None = None,
    ) -> Self:
        """Choose C and fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numbers.
        sample_weight, validation, statistics
            As for `SVMClassifier`.

        Returns
        -------
        self
        """
        self._check_parameters()
        check_positive("epsilon", self.epsilon)
        rows = number_rows(self, X, y, sample_weight, validation)
        held = rows.held
        targets = Targets.of(rows.y, rows.weight)
        scaled = targets.scaled
        known = statistics and statistics.known(len(rows.X), rows.X[0], rows.weight)
        placed = self._scaled(rows.X, rows.weight, known)
        if self.solver_ == "exact":
            self.C_, self.C_path_ = C_FIXED["exact"] if self.C == "auto" else float(self.C), []
            machine = SVR(C=self.C_, gamma=self.gamma_, epsilon=self.epsilon)
            self.machines_ = [clone(machine).fit(placed, t, rows.weight) for t in scaled.T]
            self.n_iter_ = max(int(machine.n_iter_) for machine in self.machines_)
        else:
            if held is None:
                held = hold_out_unstratified(
                    len(rows.X), self.validation_fraction, self.random_state
                )
            if self.C != "auto":
                held = None
            self._fit_scores(
                placed, scaled, rows.weight, held=held, epsilon=self.epsilon, known=known
            )
        self.target_mean_, self.target_scale_ = targets.mean, targets.scale
        return self

    def predict(self, X: ArrayLike) -> Array:
        """Numbers, in the shape they were given to `fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        placed = self._placed(X)
        if self.solver_ == "exact":
            found = np.column_stack([machine.predict(placed) for machine in self.machines_])
        else:
            found = self._scores(placed)
        flat = found[:, 0] if np.ndim(self.target_mean_) == 0 else found
        return np.asarray(flat.astype(np.float64) * self.target_scale_ + self.target_mean_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
