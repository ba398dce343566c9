"""Logistic regression on standardised features, its L2 strength chosen by hold-out; or ridge."""

import logging
import time
import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from transferkit.heads._inputs import (
    Array,
    ClassRows,
    accepted,
    check_positive,
    check_share,
    class_rows,
    class_weighted,
)
from transferkit.heads._logistic import Candidate, path, solve
from transferkit.heads._rows import hold_out, standardised
from transferkit.heads._scores import labels_of_scores, log_softmax, sigmoid
from transferkit.heads.ridge import Regressor

__all__ = ["Classifier", "Regressor"]

logger = logging.getLogger(__name__)

# Where the best C of convolutional features lies, with three decades to spare on either side.
C_RANGE = (1e-5, 1e2)
# Used when nothing can be held out; the middle of what the hold-out chooses on real features.
C_WITHOUT_HOLDOUT = 0.1
# The path only ranks candidates, for which a rough solution is enough.
LOOSE = 10


class Classifier(ClassifierMixin, BaseEstimator):
    """Standardised multinomial logistic regression with an L2 penalty.

    The strength is the one of an ascending path with the smallest log loss on held-out
    rows; the first of equals wins, which is the strongest penalty. Log loss, because few
    held-out rows leave accuracy with ties and jumps. The path ends early once the log
    loss has risen twice in a row. The model is then fitted anew on all rows.

    Parameters
    ----------
    C : "auto" or float, default="auto"
        Inverse of the L2 strength, on the loss summed over samples as in scikit-learn;
        a number fixes it.
    n_candidates : int, default=12
        Points of the path, evenly spaced in log C from 1e-5 to 100.
    Cs : sequence of float, default=None
        The path itself, instead of `n_candidates`.
    validation_fraction : float, default=0.2
        Share of each class that is held out to choose C. A class of one sample stays
        in the training part.
    standardize : bool, default=True
        Whether each feature is brought to mean 0 and variance 1 first.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, as in scikit-learn; the same as giving every sample its
        class's weight, so the standardisation sees them too.
    max_iter : int, default=1000
        Most iterations of one fit.
    tol : float, default=1e-4
        Largest component of the mean loss's gradient at which the solver stops.
    random_state : int, RandomState or None, default=0
        Draws the held-out rows. Nothing else is random.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or list of ndarray
        The labels, sorted. For several labels at once a list with [0, 1] for each, and
        every attribute below holds one entry (or row) per label.
    coef_ : ndarray of shape (n_classes, n_features) or (1, n_features)
        Coefficients on the features as given, the standardisation folded in.
    intercept_ : ndarray of shape (n_classes,) or (1,)
        Intercepts that belong to `coef_`.
    C_ : float
        The C of the final fit.
    C_path_ : list of dict
        C, held-out accuracy and log loss, n_iter and converged of each candidate tried;
        empty if C was fixed or no row could be held out.
    C_on_edge_ : bool
        Whether C was chosen at an end of the path, so that a wider one may do better.
    n_iter_ : int
        Iterations of the final fit.
    converged_ : bool
        Whether the final fit converged.
    n_features_in_ : int
        Number of features.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 5))
    >>> y = np.where(X[:, 0] > 0, "cat", "dog")
    >>> head = Classifier().fit(X, y)
    >>> head.predict([[3, 0, 0, 0, 0]]).tolist()
    ['cat']
    """

    def __init__(
        self,
        C: str | float = "auto",
        *,
        n_candidates: int = 12,
        Cs: Sequence[float] | None = None,
        validation_fraction: float = 0.2,
        standardize: bool = True,
        class_weight: Any = None,
        max_iter: int = 1000,
        tol: float = 1e-4,
        random_state: Any = 0,
    ) -> None:
        self.C = C
        self.n_candidates = n_candidates
        self.Cs = Cs
        self.validation_fraction = validation_fraction
        self.standardize = standardize
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> Self:
        """Choose C and fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; float32 is computed in float32, float16 too.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any one type; or 0 and 1 for each of several labels, which are then
            fitted one by one.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights; a row of weight 0 is as good as absent.
        validation : (array-like, array-like), default=None
            Features and labels that choose C, instead of a random hold-out; the final
            fit is on both parts together, these rows with weight 1.

        Returns
        -------
        self
        """
        start = time.perf_counter()
        self._check_parameters()
        rows = class_rows(self, X, y, sample_weight, validation)
        self.classes_ = rows.classes
        if rows.several:
            return self._fit_columns(rows)
        X, codes, weight = rows.X, rows.y, class_weighted(rows, self.class_weight)
        held = rows.held
        if held is None and self.C == "auto":
            held = hold_out(codes, self.validation_fraction, self.random_state)
        self._choose_C(X, codes, weight, held)
        self._fit_final(X, codes, weight)
        logger.info(
            "fitted the linear head on %s rows of %s features in %.1f s; C = %.3g, %d iterations",
            f"{len(X):,}", f"{X.shape[1]:,}", time.perf_counter() - start, self.C_, self.n_iter_,
        )  # fmt: skip
        return self

    def decision_function(self, X: ArrayLike) -> Array:
        """Linear scores, before the softmax.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            Scores; of two classes, those of the second.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=accepted(X), reset=False)
        scores: Array = X @ self.coef_.T + self.intercept_
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: ArrayLike) -> Array:
        """Labels, as they were given to `fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            The most probable label of each row.
        """
        scores = self.decision_function(X)
        return labels_of_scores(self.classes_, scores)

    def predict_log_proba(self, X: ArrayLike) -> Array:
        """Logarithms of the class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        scores = self.decision_function(X)
        if isinstance(self.classes_, list):
            return -np.logaddexp(0, -scores)
        return log_softmax(scores)

    def predict_proba(self, X: ArrayLike) -> Array:
        """Class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`; each row sums to 1. For several labels the
            probability of 1 for each.
        """
        scores = self.decision_function(X)
        if isinstance(self.classes_, list):
            return sigmoid(scores)
        return np.asarray(np.exp(log_softmax(scores)))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _check_parameters(self) -> None:
        if self.C != "auto":
            check_positive("C", self.C, or_else='"auto" or ')
        if self.Cs is None:
            check_positive("n_candidates", self.n_candidates, kind=Integral)
        else:
            if len(self.Cs) == 0:
                raise ValueError("Cs is empty; give at least one number above 0, or None")
            for C in self.Cs:
                check_positive("an entry of Cs", C)
        check_positive("max_iter", self.max_iter, kind=Integral)
        check_positive("tol", self.tol)
        check_share("validation_fraction", self.validation_fraction)

    def _fit_columns(self, rows: ClassRows) -> Self:
        """Fit one model for each of several labels, and stack them."""
        one = clone(self)
        n, d = rows.X.shape
        n_labels = rows.y.shape[1]
        self.coef_ = np.zeros((n_labels, d), rows.X.dtype)
        self.intercept_ = np.zeros(n_labels)
        self.C_: Any = np.full(n_labels, np.nan)
        self.C_path_: list[Any] = []
        self.C_on_edge_: Any = np.zeros(n_labels, bool)
        self.n_iter_: Any = np.zeros(n_labels, int)
        self.converged_: Any = np.ones(n_labels, bool)
        train = slice(None) if rows.held is None else ~rows.held
        for j, column in enumerate(rows.y.T):
            paths: list[Candidate] = []
            if len(np.unique(column[train])) < 2:
                # Laplace's rule of succession: a label never seen isn't impossible.
                ones = column.sum()
                self.intercept_[j] = np.log((ones + 1) / (n - ones + 1))
            else:
                one.fit(
                    rows.X[train],
                    column[train],
                    None if rows.weight is None else rows.weight[train],
                    None if rows.held is None else (rows.X[rows.held], column[rows.held]),
                )
                self.coef_[j], self.intercept_[j] = one.coef_[0], one.intercept_[0]
                self.C_[j], self.n_iter_[j] = one.C_, one.n_iter_
                self.C_on_edge_[j], self.converged_[j] = one.C_on_edge_, one.converged_
                paths = one.C_path_
            self.C_path_.append(paths)
        self.intercept_ = self.intercept_.astype(rows.X.dtype)
        return self

    def _choose_C(self, X: Array, codes: Array, weight: Array | None, held: Array | None) -> None:
        """Set `C_`, `C_path_` and `C_on_edge_`."""
        self.C_path_ = []
        self.C_on_edge_ = False
        if self.C != "auto":
            self.C_ = float(self.C)
            return
        if held is None or len(np.unique(codes[~held])) < 2:
            self.C_ = C_WITHOUT_HOLDOUT
            logger.info("too few samples to hold any out; C = %g is not tuned", self.C_)
            return
        Cs = np.geomspace(*C_RANGE, self.n_candidates) if self.Cs is None else np.sort(self.Cs)
        self.C_path_ = path(
            Cs, X, codes, weight, held,
            standardize=self.standardize, tol=LOOSE * self.tol, max_iter=self.max_iter,
        )  # fmt: skip
        self.C_ = min(self.C_path_, key=lambda point: point["log_loss"])["C"]
        self.C_on_edge_ = bool(len(Cs) > 1 and self.C_ in (Cs[0], Cs[-1]))
        if self.C_on_edge_:
            logger.info(
                "C = %.3g was chosen at the edge of the path (%.3g to %.3g); a wider Cs may do "
                "better", self.C_, Cs[0], Cs[-1],
            )  # fmt: skip

    def _fit_final(self, X: Array, codes: Array, weight: Array | None) -> None:
        """Fit at `C_` on all rows, from zero, so that the path leaves no trace."""
        scaled, mean, scale = standardised(X, weight, enabled=self.standardize)
        found = solve(scaled, codes, weight, C=self.C_, tol=self.tol, max_iter=self.max_iter)
        self.coef_ = (found.coef / scale).astype(X.dtype)
        # From the rounded coefficients: what rounding changes is then multiplied by x - mean,
        # not by x, which may be far from zero.
        offset = found.intercept - self.coef_.astype(np.float64) @ mean
        self.intercept_ = offset.astype(X.dtype)
        self.n_iter_, self.converged_ = found.n_iter, found.converged
        if not self.converged_:
            warnings.warn(
                f"the linear head did not converge in {self.n_iter_} iterations at "
                f"C = {self.C_:.3g}; raise max_iter or tol, or lower C",
                ConvergenceWarning,
                stacklevel=3,
            )
