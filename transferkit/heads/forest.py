"""Extremely randomised trees, or a random forest; works as it is, large when saved."""

from dataclasses import replace
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.utils.validation import check_is_fitted

from transferkit.heads._labels import LabelsByProbability, MultilabelMixin
from transferkit.heads._numbers import NumbersMixin
from transferkit.heads._validation import (
    Array,
    TrainingRows,
    check_choice,
    check_classification_data,
    check_features,
    check_positive,
    check_regression_data,
    with_class_weights,
)
from transferkit.solvers._quiet import without_class_count_warning
from transferkit.solvers.standardize import Targets
from transferkit.solvers.trees import trees_of_forest

__all__ = ["Classifier", "ForestClassifier", "ForestRegressor", "Regressor"]

KINDS = ("extra", "forest")
# Every leaf holds a number per class. With more rows than this, leaves of one sample would
# make a forest of gigabytes.
ROWS_WITH_SINGLE_LEAVES = 10_000
# scikit-learn takes a feature that varies by less than 1e-7 for a constant.
SMALLEST_SPREAD = 1e-5


class _Forest(BaseEstimator):
    """Base class of classifier and regressor: parameters, and growing the trees."""

    def __init__(
        self,
        n_trees: int = 300,
        *,
        kind: str = "extra",
        max_features: Any = "sqrt",
        min_samples_leaf: Any = "auto",
        n_jobs: int | None = None,
        random_state: Any = 0,
    ) -> None:
        self.n_trees = n_trees
        self.kind = kind
        self.max_features = max_features
        self.min_samples_leaf = min_samples_leaf
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _check_parameters(self) -> None:
        check_positive("n_trees", self.n_trees, kind=Integral)
        check_choice("kind", self.kind, KINDS)
        if self.min_samples_leaf != "auto":
            check_positive("min_samples_leaf", self.min_samples_leaf, or_else='"auto" or ')

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Models that were saved when scikit-learn's own forest was kept.
        if hasattr(state.get("trees_"), "estimators_"):
            forest = state["trees_"]
            is_flat = forest.n_outputs_ == 1 and not state.get("is_column_", False)
            state = state | {"trees_": trees_of_forest(forest), "is_flat_": is_flat}
        super().__setstate__(state)

    def _grow(
        self, kinds: dict[str, Any], rows: TrainingRows, y: Array, weight: Array | None
    ) -> None:
        leaf = self.min_samples_leaf
        if leaf == "auto":
            leaf = max(1, len(rows.X) // ROWS_WITH_SINGLE_LEAVES)
        X, exponent = _magnified(rows.X)
        forest = kinds[self.kind](
            self.n_trees,
            max_features=self.max_features,
            min_samples_leaf=leaf,
            n_jobs=self.n_jobs,
            random_state=self.random_state,
        )
        # Its look whether all are finite is a sum, which overflows at the largest numbers.
        silent = np.errstate(over="ignore", invalid="ignore")
        with silent, without_class_count_warning(y):
            trees = trees_of_forest(forest.fit(X, y, sample_weight=weight))
        threshold = np.ldexp(trees.threshold, -exponent[trees.feature])
        self.trees_ = replace(trees, threshold=threshold)


def _magnified(X: Array) -> tuple[Array, Array]:
    """Scale features up, so that scikit-learn doesn't take them for constants, by powers of 2."""
    X = X.astype(np.float32, copy=False)
    spread = X.max(axis=0).astype(np.float64) - X.min(axis=0)
    is_small = (spread > 0) & (spread < SMALLEST_SPREAD)
    exponent = np.where(is_small, -np.frexp(abs(X).max(axis=0))[1], 0).astype(int)
    return (np.ldexp(X, exponent) if is_small.any() else X), exponent


class ForestClassifier(MultilabelMixin, LabelsByProbability, _Forest):
    """A forest of extremely randomised trees, or a random forest.

    On features of networks the two are equally good, and the first is several times
    quicker to fit.

    Parameters
    ----------
    n_trees : int, default=300
        Number of trees.
    kind : {"extra", "forest"}, default="extra"
        Extremely randomised trees (random thresholds, all samples), or a random forest
        (best thresholds, bootstrap samples).
    max_features : {"sqrt", "log2"}, int, float or None, default="sqrt"
        Features tried at each node, as in scikit-learn.
    min_samples_leaf : "auto", int or float, default="auto"
        Fewest samples of a leaf, as in scikit-learn; "auto" is 1 below 20,000 samples and
        then one for every 10,000, which bounds the size of the trees.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, as in scikit-learn; not for several labels at once.
    n_jobs : int, default=None
        Threads that grow trees, as in scikit-learn; -1 for all cores.
    random_state : int, RandomState or None, default=0
        Draws what the trees see.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or list of ndarray
        The labels, sorted; for several labels at once a list with [0, 1] for each.
    trees_ : Trees
        The trees as arrays: ``feature``, ``threshold``, ``children``, ``values`` and more.
    n_features_in_ : int
        Number of features.

    References
    ----------
    Geurts, Ernst and Wehenkel (2006), "Extremely randomized trees"; Breiman (2001),
    "Random forests".

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 5))
    >>> head = ForestClassifier(n_trees=20).fit(X, np.where(X[:, 0] > 0, "cat", "dog"))
    >>> head.predict([[3, 0, 0, 0, 0]]).tolist()
    ['cat']
    """

    def __init__(
        self,
        n_trees: int = 300,
        *,
        kind: str = "extra",
        max_features: Any = "sqrt",
        min_samples_leaf: Any = "auto",
        class_weight: Any = None,
        n_jobs: int | None = None,
        random_state: Any = 0,
    ) -> None:
        super().__init__(
            n_trees,
            kind=kind,
            max_features=max_features,
            min_samples_leaf=min_samples_leaf,
            n_jobs=n_jobs,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Grow the trees.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; computed on in float32.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any one type; or 0 and 1 for each of several labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights; a row of weight 0 is as good as absent.

        Returns
        -------
        self
        """
        self._check_parameters()
        rows = check_classification_data(self, X, y, sample_weight)
        self.classes_ = rows.classes
        kinds = {"extra": ExtraTreesClassifier, "forest": RandomForestClassifier}
        self._grow(kinds, rows, rows.y, with_class_weights(rows, self.class_weight))
        return self

    def predict_proba(self, X: ArrayLike) -> Array:
        """Class probabilities: the mean over the trees of the shares in their leaves.

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
        X = check_features(self, X).astype(np.float32, copy=False)
        return self.trees_.predict(X)


class ForestRegressor(NumbersMixin, _Forest):
    """A forest of extremely randomised trees, or a random forest, for numbers.

    Parameters
    ----------
    n_trees, kind, min_samples_leaf, n_jobs, random_state
        As for `ForestClassifier`.
    max_features : {"sqrt", "log2"}, int, float or None, default="sqrt"
        As for `ForestClassifier`; scikit-learn's default of all features is far slower on a
        thousand of them.

    Attributes
    ----------
    trees_, n_features_in_
        As for `ForestClassifier`.

    Examples
    --------
    >>> head = ForestRegressor(n_trees=5).fit([[1.0], [2.0], [3.0]], [1.0, 2.0, 3.0])
    >>> head.predict([[3.0]]).tolist()
    [3.0]
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Grow the trees.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; computed on in float32.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights; a row of weight 0 is as good as absent.

        Returns
        -------
        self
        """
        self._check_parameters()
        rows = check_regression_data(self, X, y, sample_weight)
        kinds = {"extra": ExtraTreesRegressor, "forest": RandomForestRegressor}
        # A tree's gains are differences of squares, which would be lost beside large numbers.
        targets = Targets.shifted(rows.y, rows.weight)
        y = targets.scaled[:, 0] if targets.scaled.shape[1] == 1 else targets.scaled
        self._grow(kinds, rows, y, rows.weight)
        values = self.trees_.values * targets.scale + targets.mean
        self.trees_ = replace(self.trees_, values=values)
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
        check_is_fitted(self)
        X = check_features(self, X).astype(np.float32, copy=False)
        numbers = self.trees_.predict(X)
        return numbers[:, 0] if self.is_flat_ else numbers


Classifier = ForestClassifier
Regressor = ForestRegressor
