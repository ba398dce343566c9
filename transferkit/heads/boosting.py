"""Gradient-boosted trees: scikit-learn's histogram trees, or XGBoost, or LightGBM; slow."""

from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from transferkit.datasets.splits import draw_stratified, draw_unstratified
from transferkit.heads._labels import LabelsByProbability, MultilabelMixin, probabilities_of_scores
from transferkit.heads._numbers import NumbersMixin
from transferkit.heads._validation import (
    Array,
    check_choice,
    check_classification_data,
    check_features,
    check_positive,
    check_regression_data,
    check_share,
    with_class_weights,
)
from transferkit.solvers.boosting import LIBRARIES, BoostingOptions, boost, probe, raw_scores
from transferkit.solvers.standardize import Targets
from transferkit.solvers.trees import trees_of_boosting

__all__ = ["BoostingClassifier", "BoostingRegressor", "Classifier", "Regressor"]


ROUNDS_WITHOUT_HOLDOUT = 50


class _Boosting(BaseEstimator):
    """Base class of classifier and regressor: parameters, growing the trees of a column, scores."""

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

    def _options(self, n_classes: int, rounds: int) -> BoostingOptions:
        return BoostingOptions(
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
        """Grow the trees of one column of targets; return the model and its number of rounds."""
        rounds = self.max_rounds if held is not None else ROUNDS_WITHOUT_HOLDOUT
        model, best = boost(
            X, y, weight, held, self._options(n_classes, min(rounds, self.max_rounds))
        )
        if held is not None and self.refit:
            model, best = boost(X, y, weight, None, self._options(n_classes, best))
        return model, best

    def _columns(self, X: ArrayLike, n_classes: int) -> list[Array]:
        """Compute the scores of each model."""
        check_is_fitted(self)
        rows = check_features(self, X)
        options = self._options(n_classes, self.max_rounds)
        return [
            np.full(len(rows), model)
            if isinstance(model, float)
            else raw_scores(model, rows, options)
            for model in self.models_
        ]


class BoostingClassifier(MultilabelMixin, LabelsByProbability, _Boosting):
    """Gradient-boosted trees on binned features, stopped early.

    Deep features are many and smooth, so the bins are few and each node sees a sample of
    the features; even so a linear head is usually quicker and better. For several labels
    the trees of each label are grown apart.

    Parameters
    ----------
    library : {"sklearn", "xgboost", "lightgbm"}, default="sklearn"
        Who grows the trees; the latter two come with ``pip install transferkit[boosting]``.
    max_rounds : int, default=200
        Most rounds; each grows a tree per class.
    learning_rate : float, default=0.2
        Shrinkage of each tree.
    max_leaves : int, default=8
        Leaves of a tree.
    max_bins : int, default=31
        Bins of a feature.
    max_features : float, default=0.1
        Share of the features tried at each node.
    min_samples_leaf : int, default=5
        Fewest samples of a leaf (not known to XGBoost).
    patience : int, default=10
        Rounds without a smaller held-out loss after which to stop.
    validation_fraction : float, default=0.1
        Share of each class that is held out to know when to stop.
    refit : bool, default=False
        Whether to grow the trees again on all rows, for as many rounds as were best; it
        takes as long again.
    n_jobs : int, default=None
        Threads of XGBoost and LightGBM; None for all. scikit-learn heeds OMP_NUM_THREADS.
    random_state : int, RandomState or None, default=0
        Draws the held-out rows and the features of each node.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, as in scikit-learn; not for several labels at once.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or list of ndarray
        The labels, sorted; for several labels at once a list with [0, 1] for each.
    models_ : list of Trees, str or float
        One model, or one per label: trees as arrays, or the text that the library
        writes (XGBoost's JSON, LightGBM's own); a number is the log odds of a label that
        was always the same.
    n_rounds_ : list of int
        Best number of rounds of each.
    n_features_in_ : int
        Number of features.

    References
    ----------
    Friedman (2001), "Greedy function approximation: a gradient boosting machine"; Ke et
    al. (2017), "LightGBM"; Chen and Guestrin (2016), "XGBoost".

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 5))
    >>> head = BoostingClassifier(max_features=1.0).fit(X, np.where(X[:, 0] > 0, "cat", "dog"))
    >>> head.predict([[3, 0, 0, 0, 0]]).tolist()
    ['cat']
    """

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
        class_weight: Any = None,
    ) -> None:
        super().__init__(
            library,
            max_rounds=max_rounds,
            learning_rate=learning_rate,
            max_leaves=max_leaves,
            max_bins=max_bins,
            max_features=max_features,
            min_samples_leaf=min_samples_leaf,
            patience=patience,
            validation_fraction=validation_fraction,
            refit=refit,
            n_jobs=n_jobs,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> Self:
        """Grow the trees.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any one type; or 0 and 1 for each of several labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights; a row of weight 0 is as good as absent.
        validation : (array-like, array-like), default=None
            Features and labels that decide when to stop, instead of a random hold-out; with
            `refit` the trees are then grown on both parts, these rows with weight 1.

        Returns
        -------
        self
        """
        self._check_parameters()
        rows = check_classification_data(self, X, y, sample_weight, validation)
        weight = with_class_weights(rows, self.class_weight)
        self.classes_ = rows.classes
        self.models_: list[Any] = []
        self.n_rounds_: list[int] = []
        for column in rows.y.T if rows.several else [rows.y]:
            held = rows.held
            ones, n = column.sum(), len(column)
            if len(np.unique(column)) < 2:
                # Laplace's rule of succession, because an unseen label isn't impossible.
                self.models_.append(float(np.log((ones + 1) / (n - ones + 1))))
                self.n_rounds_.append(0)
                continue
            if held is None:
                held = draw_stratified(column, self.validation_fraction, self.random_state)
            if held is not None and not np.isin(column, column[~held]).all():
                held = None  # the libraries refuse classes that only the held-out rows have
            n_classes = 2 if rows.several else len(self.classes_)
            model, best = self._grow(rows.X, column, weight, held, n_classes)
            self.models_.append(model)
            self.n_rounds_.append(best)
        return self

    def predict_proba(self, X: ArrayLike) -> Array:
        """Class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In the order of `classes_`, each row summing to 1; for several labels the
            probability of 1 for each.
        """
        check_is_fitted(self)
        n_classes = 2 if isinstance(self.classes_, list) else len(self.classes_)
        columns = self._columns(X, n_classes)
        scores = np.column_stack(columns) if isinstance(self.classes_, list) else columns[0]
        return probabilities_of_scores(self.classes_, scores)


class BoostingRegressor(NumbersMixin, _Boosting):
    """Gradient-boosted trees for numbers. The trees of each output are grown separately.

    Parameters
    ----------
    library, max_rounds, learning_rate, max_leaves, max_bins, max_features
        As for `BoostingClassifier`.
    min_samples_leaf, patience, validation_fraction, refit, n_jobs, random_state
        As for `BoostingClassifier`.

    Attributes
    ----------
    models_, n_rounds_, n_features_in_
        As for `BoostingClassifier`, one model per output.
    target_mean_, target_scale_ : float or ndarray of shape (n_outputs,)
        The standardisation of the numbers.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 5))
    >>> bool(BoostingRegressor(max_features=1.0).fit(X, X[:, 0]).score(X, X[:, 0]) > 0.8)
    True
    """

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> Self:
        """Grow the trees.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numbers.
        sample_weight, validation
            As for `BoostingClassifier`.

        Returns
        -------
        self
        """
        self._check_parameters()
        rows = check_regression_data(self, X, y, sample_weight, validation)
        held = rows.held
        if held is None:
            held = draw_unstratified(len(rows.X), self.validation_fraction, self.random_state)
        targets = Targets.shifted(rows.y, rows.weight)
        self.target_mean_, self.target_scale_ = targets.mean, targets.scale
        grown = [self._grow(rows.X, column, rows.weight, held, 0) for column in targets.scaled.T]
        self.models_ = [model for model, _ in grown]
        self.n_rounds_ = [best for _, best in grown]
        self.is_flat_ = rows.y.ndim == 1
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
        columns = self._columns(X, 0)
        scores = columns[0] if self.is_flat_ else np.column_stack(columns)
        # A model that was saved when numbers were learnt as they are has no scale.
        scale, mean = getattr(self, "target_scale_", 1.0), getattr(self, "target_mean_", 0.0)
        return np.asarray(scores.astype(np.float64) * scale + mean)


Classifier = BoostingClassifier
Regressor = BoostingRegressor
