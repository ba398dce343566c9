"""What both tasks of the boosting head share: the parameters, growing, the scores."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from transferkit.heads._inputs import Array, check_choice, check_positive, check_share, checked_rows
from transferkit.solvers.boosting import LIBRARIES, Plan, boost, probe, raw_scores
from transferkit.solvers.trees import trees_of_boosting

__all__ = ["Boosting"]

ROUNDS_WITHOUT_HOLDOUT = 50


class Boosting(BaseEstimator):
    """What both tasks share: the parameters, growing one column's trees, their scores."""

    def __init__(
        self,
        library: str = "sklearn",
        *,
        max_rounds: int = 200,
        learning_rate: float = 0.2,
        max_leaves: int = 8,
        max_bins: int = 31,
        max_features: float = 0.1,
        min_samples_leaf: int = 5,
        patience: int = 10,
        validation_fraction: float = 0.1,
        refit: bool = False,
        n_jobs: int | None = None,
        random_state: Any = 0,
    ) -> None:
        self.library = library
        self.max_rounds = max_rounds
        self.learning_rate = learning_rate
        self.max_leaves = max_leaves
        self.max_bins = max_bins
        self.max_features = max_features
        self.min_samples_leaf = min_samples_leaf
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.refit = refit
        self.n_jobs = n_jobs
        self.random_state = random_state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Models that were saved when scikit-learn's own estimators were kept.
        if "models_" in state:
            models = [
                trees_of_boosting(m) if hasattr(m, "_predictors") else m for m in state["models_"]
            ]
            state = state | {"models_": models}
        super().__setstate__(state)

    def _check_parameters(self) -> None:
        check_choice("library", self.library, LIBRARIES)
        for name in ("max_rounds", "max_leaves", "max_bins", "min_samples_leaf", "patience"):
            check_positive(name, getattr(self, name), kind=Integral)
        check_positive("learning_rate", self.learning_rate)
        if self.max_features != 1:
            check_share("max_features", self.max_features)
        check_share("validation_fraction", self.validation_fraction)
        if self.library != "sklearn":
            probe(self.library)

    def _plan(self, n_classes: int, rounds: int) -> Plan:
        return Plan(
            library=self.library,
            n_classes=n_classes,
            rounds=rounds,
            patience=self.patience,
            max_leaves=self.max_leaves,
            max_bins=self.max_bins,
            min_samples_leaf=self.min_samples_leaf,
            learning_rate=self.learning_rate,
            max_features=self.max_features,
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
            n_threads=max(0, self.n_jobs or 0),
        )

    def _grow(
        self, X: Array, y: Array, weight: Array | None, held: Array | None, n_classes: int
    ) -> tuple[Any, int]:
        """Model and rounds of one column of targets."""
        rounds = self.max_rounds if held is not None else ROUNDS_WITHOUT_HOLDOUT
        model, best = boost(X, y, weight, held, self._plan(n_classes, min(rounds, self.max_rounds)))
        if held is not None and self.refit:
            model, best = boost(X, y, weight, None, self._plan(n_classes, best))
        return model, best

    def _columns(self, X: ArrayLike, n_classes: int) -> list[Array]:
        """Scores of each model."""
        check_is_fitted(self)
        rows = checked_rows(self, X)
        plan = self._plan(n_classes, self.max_rounds)
        return [
            np.full(len(rows), model) if isinstance(model, float) else raw_scores(model, rows, plan)
            for model in self.models_
        ]
