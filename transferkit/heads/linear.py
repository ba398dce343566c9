"""Logistic regression on standardised features, its L2 strength chosen by hold-out; or ridge."""

import logging
import time
import warnings
from collections.abc import Sequence
from functools import partial
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

from transferkit.heads._labels import LinearClassifierMixin, MultilabelMixin, SoftmaxMixin
from transferkit.heads._validation import (
    Array,
    LabelledRows,
    check_classification_data,
    check_positive,
    check_share,
    with_class_weights,
)
from transferkit.heads.ridge import RidgeRegressor
from transferkit.solvers.linear import LinearProblems
from transferkit.solvers.logistic import (
    PathOptions,
    Selected,
    SelectionOptions,
    select_C,
    select_C_per_label,
)
from transferkit.solvers.losses import log_softmax
from transferkit.solvers.scores import score_dtype
from transferkit.solvers.statistics import FeatureStatistics

__all__ = ["Classifier", "LinearClassifier", "Regressor"]

logger = logging.getLogger(__name__)

# The range of the best C for convolutional features, with three decades to spare on either side.
C_RANGE = (1e-5, 1e2)
# The path only ranks candidates, for which a rough solution is enough.
LOOSE = 5


class LinearClassifier(MultilabelMixin, SoftmaxMixin, LinearClassifierMixin, BaseEstimator):
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
        Largest component of the mean loss's gradient, and largest estimated distance of the
        objective from its optimum relative to it, at which the solver stops. The path is
        solved to five times as much.
    label_smoothing : float, default=0
        Share of each target that is spread evenly over all classes.
    folds : int or None, default=None
        Choose C by the mean over this many stratified folds, instead of one hold-out; not
        for several labels at once.
    warm_start : bool, default=False
        Start the final fit where the one before ended, if labels and features are as many.
    device : str, default="cpu"
        Where to compute, as PyTorch writes it.
    random_state : int, RandomState or None, default=0
        Draws the held-out rows or the folds. Nothing else is random.

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
        C, held-out accuracy and log loss, n_iter, converged, objective, gradient (largest
        component) and gap (estimated relative distance from the optimum) of each candidate
        tried; empty if C was fixed or no row could be held out.
    C_on_edge_ : bool
        Whether C was chosen at an end of the path, so that a wider one may do better.
    n_iter_ : int
        Newton steps of the final fit.
    converged_ : bool
        Whether the final fit converged.
    objective_, gradient_, gap_ : float
        Of the final fit, as in `C_path_`.
    n_features_in_ : int
        Number of features.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 5))
    >>> y = np.where(X[:, 0] > 0, "cat", "dog")
    >>> head = LinearClassifier().fit(X, y)
    >>> head.predict([[3, 0, 0, 0, 0]]).tolist()
    ['cat']
    """

    streams: ClassVar[bool] = True

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
        label_smoothing: float = 0.0,
        folds: int | None = None,
        warm_start: bool = False,
        device: str = "cpu",
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
        self.label_smoothing = label_smoothing
        self.folds = folds
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state

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
        X : array-like of shape (n_samples, n_features), or unread rows
            Features; float32 is computed in float32, float16 too.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any one type; or 0 and 1 for each of several labels, which are then
            fitted one by one.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights; a row of weight 0 is as good as absent.
        validation : (array-like, array-like), default=None
            Features and labels that choose C, instead of a random hold-out; the final
            fit is on both parts together, these rows with weight 1.
        statistics : FeatureStatistics, default=None
            Of X, and the rows of `validation` after it, if they are known: they guide the
            solver; of no use where rows have weights.

        Returns
        -------
        self
        """
        start = time.perf_counter()
        self._check_parameters()
        rows = check_classification_data(self, X, y, sample_weight, validation, half=True)
        before = self._coefficients_before(rows)
        self.classes_ = rows.classes
        weight = with_class_weights(rows, self.class_weight)
        n, first = len(rows.y), rows.some(np.arange(len(rows.y)) == 0)[0]
        known = statistics and statistics.known(n, first[0][first[1]][0], weight)
        path = self._path_options(known)
        if rows.several:
            self._fit_columns(rows, before, path)
        else:
            options = self._selection_options()
            self._report(select_C(rows.parts, rows.y, weight, rows.held, path, options))
            problems = LinearProblems.logistic(rows.parts, rows.y, weight, **path.problem)
            learnt = self._solve(problems, self.C_, before)
            self.coef_, self.intercept_ = learnt.pop("coef_"), learnt.pop("intercept_")
            for name, values in learnt.items():
                setattr(self, name, values[0].item())
        d = self.coef_.shape[1]
        logger.info(
            "fitted the linear head on %s rows of %s features in %.1f s; C = %s, %d iterations",
            f"{len(rows.y):,}", f"{d:,}", time.perf_counter() - start,
            np.array2string(np.asarray(self.C_), precision=3), np.max(self.n_iter_),
        )  # fmt: skip
        return self

    def predict_log_proba(self, X: ArrayLike) -> Array:
        """Logarithms of the class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In the order of `classes_`; for several labels those of 1 for each.
        """
        scores = self.decision_function(X)
        if isinstance(self.classes_, list):
            return np.asarray(-np.logaddexp(0, -scores))
        return log_softmax(scores)

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
        check_share("label_smoothing", self.label_smoothing, zero=True)
        if self.folds is not None:
            check_positive("folds", self.folds, kind=Integral, or_else="None or ")
            if self.folds < 2:
                raise ValueError(f"folds is {self.folds!r}; give None or a whole number above 1")

    def _selection_options(self) -> SelectionOptions:
        return SelectionOptions(self.C, self.validation_fraction, self.folds, self.random_state)

    def _path_options(self, known: FeatureStatistics | None) -> PathOptions:
        Cs = np.geomspace(*C_RANGE, self.n_candidates) if self.Cs is None else np.unique(self.Cs)
        spectrum = partial(known.spectrum, standardize=self.standardize) if known else None
        problem = {
            "standardize": self.standardize,
            "smoothing": self.label_smoothing,
            "device": self.device,
            "spectrum": spectrum,
        }
        return PathOptions(Cs, problem, LOOSE * self.tol, self.max_iter)

    def _report(self, selected: Selected) -> None:
        self.C_, self.C_path_, self.C_on_edge_ = selected.C, selected.path, selected.on_edge

    def _coefficients_before(self, rows: LabelledRows) -> tuple[Array, Array] | None:
        """Coefficients of the previous fit, if this fit can start from them."""
        if not (self.warm_start and hasattr(self, "coef_")):
            return None
        n_scores = len(rows.classes)
        if not rows.several and n_scores == 2:
            n_scores = 1
        if self.coef_.shape != (n_scores, rows.parts[0][0].shape[1]):
            return None
        return self.coef_.astype(np.float64), self.intercept_.astype(np.float64)

    def _solve(
        self, problems: LinearProblems, C: Any, before: tuple[Array, Array] | None
    ) -> dict[str, Array]:
        """Fit at C on all rows; return the learnt attributes, with an entry or row per problem.

        Not from the path's end, so that the path leaves no trace.
        """
        found = problems.solve(C, tol=self.tol, max_iter=self.max_iter, start=before)
        if not found.converged.all():
            worst = np.max(np.broadcast_to(C, found.converged.shape)[~found.converged])
            warnings.warn(
                f"the linear head did not converge in {found.n_iter} iterations at "
                f"C = {worst:.3g}; raise max_iter or tol, or lower C",
                ConvergenceWarning,
                stacklevel=3,
            )
        features = np.float64 if problems.rows.dtype.itemsize == 8 else np.float32
        dtype = score_dtype(found.coef, problems.rows.mean, features)
        return {
            "coef_": found.coef.astype(dtype),
            "intercept_": found.intercept.astype(dtype),
            "n_iter_": np.full(len(found.gap), found.n_iter),
            "converged_": found.converged,
            "objective_": found.objective,
            "gradient_": found.gradient,
            "gap_": found.gap,
        }

    def _fit_columns(
        self, rows: LabelledRows, before: tuple[Array, Array] | None, path: PathOptions
    ) -> None:
        """Fit one model for each of several labels, side by side in one solve."""
        train = np.ones(len(rows.y), bool) if rows.held is None else ~rows.held
        both = np.flatnonzero(np.ptp(rows.y[train], axis=0))
        options = self._selection_options()
        selected = select_C_per_label(
            rows.parts, rows.y, rows.weight, rows.held, path, options, both
        )
        self._report(selected)
        learnt = _without_samples_of_both(rows)
        dtype: Any = np.float64 if rows.parts[0][0].dtype == np.float64 else np.float32
        if len(both):
            first = None if before is None else (before[0][both], before[1][both])
            problems = LinearProblems.logistic(
                rows.parts, rows.y[:, both], rows.weight, **path.problem
            )
            solved = self._solve(problems, self.C_[both], first)
            dtype = solved["coef_"].dtype
            for name, values in solved.items():
                learnt[name][both] = values
        self.coef_, self.intercept_ = (
            learnt.pop(name).astype(dtype) for name in ("coef_", "intercept_")
        )
        for name, values in learnt.items():
            setattr(self, name, values)


def _without_samples_of_both(rows: LabelledRows) -> dict[str, Array]:
    """Learnt attributes of labels that all training rows have, or that none of them has.

    Their probability follows Laplace's rule of succession, because a label that was never seen
    isn't impossible.
    """
    n, n_labels = rows.y.shape
    ones = rows.y.sum(axis=0)
    return {
        "coef_": np.zeros((n_labels, rows.parts[0][0].shape[1])),
        "intercept_": np.log((ones + 1) / (n - ones + 1)),
        "n_iter_": np.zeros(n_labels, int),
        "converged_": np.ones(n_labels, bool),
        "objective_": np.full(n_labels, np.nan),
        "gradient_": np.zeros(n_labels),
        "gap_": np.zeros(n_labels),
    }


Classifier = LinearClassifier
Regressor = RidgeRegressor
