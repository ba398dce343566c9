"""Ridge regression on standardised features, its strength chosen by leave-one-out."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from transferkit.datasets import by_blocks
from transferkit.heads._labels import LinearClassifierMixin, MultilabelMixin
from transferkit.heads._numbers import NumbersMixin
from transferkit.heads._validation import (
    Array,
    check_classification_data,
    check_features,
    check_positive,
    check_regression_data,
    with_class_weights,
)
from transferkit.solvers.ridge import RidgeSolution, solve
from transferkit.solvers.scores import linear_scores, score_dtype
from transferkit.solvers.standardize import Targets
from transferkit.solvers.statistics import FeatureStatistics

__all__ = ["Classifier", "Regressor", "RidgeClassifier", "RidgeRegressor"]

logger = logging.getLogger(__name__)

# Candidates over the sum of the weights: the mean eigenvalue of the features' correlation is 1,
# so these reach from hardly any penalty to hardly any coefficients.
ALPHA_RANGE = (1e-5, 1e3)
N_ALPHAS = 17


class RidgeRegressor(NumbersMixin, BaseEstimator):
    """Ridge regression whose strength has the smallest leave-one-out error.

    All strengths come from one eigendecomposition, and their exact leave-one-out errors
    from one more pass over the rows. (The standardisation is of all rows.)

    Parameters
    ----------
    alpha : "auto" or float, default="auto"
        L2 strength on the standardised features, the loss being summed over samples as in
        scikit-learn's `Ridge`; a number fixes it.
    alphas : sequence of float, default=None
        The candidates; None for 17 values, evenly spaced in log alpha, from 1e-5 to 1000
        times the number of samples (the sum of their weights).
    standardize : bool, default=True
        Whether each feature is brought to variance 1 first.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_outputs, n_features)
        Coefficients on the features as given, the standardisation folded in.
    intercept_ : float or ndarray of shape (n_outputs,)
        What belongs to `coef_`.
    alpha_ : float
        The strength, the same for all outputs.
    alpha_path_ : list of dict
        alpha and leave-one-out error (mean squared, over the target's variance, averaged
        over the outputs) of each candidate; empty if alpha was fixed.
    alpha_on_edge_ : bool
        Whether alpha was chosen at an end of the candidates.
    n_features_in_ : int
        Number of features.

    References
    ----------
    Hoerl and Kennard (1970), "Ridge regression: biased estimation for nonorthogonal
    problems"; Rifkin and Lippert (2007), "Notes on regularized least squares".

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 5))
    >>> head = RidgeRegressor().fit(X, 2 * X[:, 0] + 1)
    >>> head.predict([[3, 0, 0, 0, 0]]).round(2).tolist()
    [7.0]
    """

    streams: ClassVar[bool] = True

    def __init__(
        self,
        alpha: str | float = "auto",
        *,
        alphas: Sequence[float] | None = None,
        standardize: bool = True,
    ) -> None:
        self.alpha = alpha
        self.alphas = alphas
        self.standardize = standardize

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        statistics: FeatureStatistics | None = None,
    ) -> Self:
        """Choose alpha and fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights; a row of weight 0 is as good as absent.
        statistics : FeatureStatistics, default=None
            Of X, if they are known; of no use where rows have weights.

        Returns
        -------
        self
        """
        _check_parameters(self)
        rows = check_regression_data(self, X, y, sample_weight)
        targets = Targets.of(rows.y, rows.weight)
        solution = _fit(self, rows.source, targets.scaled.__getitem__, rows.weight, statistics)
        single = rows.y.ndim == 1
        coef, intercept = (solution.coef[0], solution.intercept[0]) if single else (
            solution.coef, solution.intercept,
        )  # fmt: skip
        # The result is float64 for any type of features, because prices and Unix times need it.
        self.coef_: Any = (coef.T * targets.scale).T
        self.intercept_: Any = intercept * targets.scale + targets.mean
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
        coef, intercept = np.atleast_2d(self.coef_), np.atleast_1d(self.intercept_)
        numbers = by_blocks(
            lambda rows: linear_scores(check_features(self, rows), coef, intercept), X
        )
        return numbers[:, 0] if self.coef_.ndim == 1 else numbers


class RidgeClassifier(MultilabelMixin, LinearClassifierMixin, BaseEstimator):
    """Ridge regression on targets of -1 and 1, one column per class. The largest score wins.

    It is also known as the least-squares support vector machine. It has no probabilities.

    Parameters
    ----------
    alpha, alphas, standardize
        As for `RidgeRegressor`.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, as in scikit-learn; not for several labels at once.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or list of ndarray
        The labels, sorted; for several labels at once a list with [0, 1] for each.
    coef_ : ndarray of shape (n_classes, n_features), (1, n_features) or (n_labels, n_features)
        Coefficients on the features as given, the standardisation folded in.
    intercept_ : ndarray of shape (n_classes,), (1,) or (n_labels,)
        What belongs to `coef_`.
    alpha_, alpha_path_, alpha_on_edge_, n_features_in_
        As for `RidgeRegressor`.

    References
    ----------
    Suykens and Vandewalle (1999), "Least squares support vector machine classifiers".

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 5))
    >>> head = RidgeClassifier().fit(X, np.where(X[:, 0] > 0, "cat", "dog"))
    >>> head.predict([[3, 0, 0, 0, 0]]).tolist()
    ['cat']
    """

    streams: ClassVar[bool] = True

    def __init__(
        self,
        alpha: str | float = "auto",
        *,
        alphas: Sequence[float] | None = None,
        standardize: bool = True,
        class_weight: Any = None,
    ) -> None:
        self.alpha = alpha
        self.alphas = alphas
        self.standardize = standardize
        self.class_weight = class_weight

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        statistics: FeatureStatistics | None = None,
    ) -> Self:
        """Choose alpha and fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any one type; or 0 and 1 for each of several labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights; a row of weight 0 is as good as absent.
        statistics : FeatureStatistics, default=None
            Of X, if they are known; of no use where rows have weights.

        Returns
        -------
        self
        """
        _check_parameters(self)
        rows = check_classification_data(self, X, y, sample_weight)
        weight = with_class_weights(rows, self.class_weight)
        self.classes_ = rows.classes
        if rows.several:
            members = rows.y
        elif len(self.classes_) == 2:
            members = rows.y[:, None]
        else:
            members = None  # made block by block, because there may be many classes

        def signs(part: slice) -> Array:
            is_one = rows.y[part, None] == np.arange(len(self.classes_))
            return 2.0 * (is_one if members is None else members[part]) - 1

        solution = _fit(self, rows.source, signs, weight, statistics)
        kind = score_dtype(solution.coef, solution.mean, rows.source.dtype)
        self.coef_, self.intercept_ = solution.coef.astype(kind), solution.intercept.astype(kind)
        return self


def _check_parameters(head: RidgeRegressor | RidgeClassifier) -> None:
    if head.alpha != "auto":
        check_positive("alpha", head.alpha, or_else='"auto" or ')
    if head.alphas is not None:
        if len(head.alphas) == 0:
            raise ValueError("alphas is empty; give at least one number above 0, or None")
        for alpha in head.alphas:
            check_positive("an entry of alphas", alpha)


def _fit(
    head: RidgeRegressor | RidgeClassifier,
    X: Any,
    targets: Callable[[slice], Array],
    weight: Array | None,
    statistics: FeatureStatistics | None,
) -> RidgeSolution:
    """Choose alpha, set the attributes that both heads have, and return the coefficients."""
    start = time.perf_counter()
    if head.alpha != "auto":
        alphas = np.array([float(head.alpha)])
    elif head.alphas is not None:
        alphas = np.sort(np.asarray(head.alphas, dtype=np.float64))[::-1]
    else:
        total = len(X) if weight is None else float(weight.sum())
        alphas = total * np.geomspace(*ALPHA_RANGE[::-1], N_ALPHAS)
    known = statistics and statistics.known(len(X), X[0], weight)
    solution = solve(
        known or FeatureStatistics(X, weight), targets, alphas, standardize=head.standardize
    )
    head.alpha_ = solution.alpha
    head.alpha_path_ = [
        {"alpha": float(alpha), "error": float(error)}
        for alpha, error in zip(alphas[: len(solution.errors)], solution.errors, strict=True)
    ]
    head.alpha_on_edge_ = bool(len(alphas) > 1 and solution.alpha in (alphas[0], alphas[-1]))
    logger.info(
        "fitted the ridge head on %s rows of %s features in %.1f s; alpha = %.3g",
        f"{len(X):,}", f"{X.shape[1]:,}", time.perf_counter() - start, solution.alpha,
    )  # fmt: skip
    return solution


Classifier = RidgeClassifier
Regressor = RidgeRegressor
