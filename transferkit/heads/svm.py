"""Support vector machine: RBF kernel (by least squares where rows are many) or linear."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.svm import SVC
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from transferkit.heads._inputs import (
    Array,
    checked_rows,
    class_rows,
    class_weighted,
)
from transferkit.heads._machine import C_FIXED, Machine
from transferkit.heads._platt import calibrated
from transferkit.heads._scores import labels_of_probabilities, labels_of_scores
from transferkit.heads._svr import MachineRegressor
from transferkit.solvers._quiet import without_class_count_warning
from transferkit.solvers.holdout import hold_out
from transferkit.solvers.statistics import FeatureStatistics

__all__ = ["Classifier", "Regressor", "SVMClassifier", "SVMRegressor"]


class SVMClassifier(ClassifierMixin, Machine):
    """A support vector machine on standardised features.

    With the RBF kernel up to `n_exact` samples go to scikit-learn's `SVC`. More of them are
    fitted one class against the rest by least squares, which on features of networks is as
    accurate and far quicker: with the whole kernel matrix up to `n_whole` samples, and from
    landmarks above. The linear kernel is fitted one class against the rest with the squared
    hinge. C is the one of a path with the smallest held-out squared hinge loss. `solver_`
    says which it was.

    Parameters
    ----------
    kernel : {"rbf", "linear"}, default="rbf"
        The kernel.
    C : "auto" or float, default="auto"
        Inverse of the strength of the penalty. "auto" is 10 for `SVC`, and chosen by
        hold-out for the others.
    gamma : "scale" or float, default="scale"
        Of the RBF kernel on the standardised features; "scale" is 1 / n_features.
    n_exact : int, default=3000
        Most samples for `SVC`, whose time grows with their square; 0 for none.
    n_whole : int, default=15000
        Most samples whose whole kernel matrix is held in memory, in float32 0.45 GB for
        15,000; half of it is enough.
    n_landmarks : int, default=2000
        Samples that stand for all where there are more, drawn at random.
    validation_fraction : float, default=0.2
        Share of each class that is held out to choose C.
    tol : float, default=1e-4
        Largest component of the mean loss's gradient, and largest estimated distance of the
        objective from its optimum relative to it, at which the linear solver stops; squared
        residual relative to the targets' square at which the whole kernel's does.
    max_iter : int, default=1000
        Most iterations of either.
    random_state : int, RandomState or None, default=0
        Draws held-out rows and landmarks.
    probability : bool, default=False
        Whether to fit probabilities too, by Platt's sigmoid on scores from
        cross-validation; it takes several times as long.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, as in scikit-learn.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    solver_ : {"exact", "squares", "nystroem", "linear"}
        How it was fitted: by `SVC`, by least squares with the whole kernel or on landmarks,
        or by the squared hinge.
    C_ : float
        The C that was used, on the sum of the losses over samples.
    C_path_ : list of dict
        C and held-out loss of each candidate; empty if nothing was chosen.
    n_iter_ : int
        Iterations of the final fit.
    n_features_in_ : int
        Number of features.

    References
    ----------
    Cortes and Vapnik (1995), "Support-vector networks"; Suykens and Vandewalle (1999), "Least
    squares support vector machine classifiers"; Williams and Seeger (2001), "Using the
    Nyström method to speed up kernel machines".

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 5))
    >>> head = SVMClassifier().fit(X, np.where(X[:, 0] > 0, "cat", "dog"))
    >>> head.predict([[3, 0, 0, 0, 0]]).tolist(), head.solver_
    (['cat'], 'exact')
    """

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
        probability: bool = False,
        class_weight: Any = None,
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
        self.probability = probability
        self.class_weight = class_weight

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
        y : array-like of shape (n_samples,)
            Labels of any one type.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights; a row of weight 0 is as good as absent.
        validation : (array-like, array-like), default=None
            Features and labels that choose C, instead of a random hold-out; the final fit
            is on both parts, these rows with weight 1.
        statistics : FeatureStatistics, default=None
            Of all rows, if they are known; of no use where rows have weights.

        Returns
        -------
        self
        """
        self._check_parameters()
        rows = class_rows(self, X, y, sample_weight, validation)
        weight, held = class_weighted(rows, self.class_weight), rows.held
        self.classes_ = rows.classes
        known = statistics and statistics.known(len(rows.X), rows.X[0], weight)
        scaled = self._scaled(rows.X, weight, known)
        if self.solver_ == "exact":
            self.C_, self.C_path_ = C_FIXED["exact"] if self.C == "auto" else float(self.C), []
            with without_class_count_warning(rows.y):
                self.machine_ = SVC(C=self.C_, gamma=self.gamma_).fit(scaled, rows.y, weight)
            self.n_iter_ = int(np.max(self.machine_.n_iter_))
        else:
            if held is None:
                held = hold_out(rows.y, self.validation_fraction, self.random_state)
            if self.C != "auto" or (held is not None and len(np.unique(rows.y[~held])) < 2):
                held = None
            hot = rows.y[:, None] == np.arange(len(self.classes_))
            signs = 2.0 * (hot[:, 1:] if len(self.classes_) == 2 else hot) - 1
            self._fit_scores(scaled, signs, weight, held=held, epsilon=None, known=known)
        if self.probability:
            self.calibrated_ = calibrated(self, rows.X, rows.y, weight)
        return self

    def decision_function(self, X: ArrayLike) -> Array:
        """Scores: the larger, the surer.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            Of two classes, those of the second.
        """
        placed = self._placed(X)
        if self.solver_ == "exact":
            return np.asarray(self.machine_.decision_function(placed))
        scores = self._scores(placed)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: ArrayLike) -> Array:
        """Labels, as they were given to `fit`; with `probability` the most probable ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        if self.probability:
            proba = self.predict_proba(X)
            return labels_of_probabilities(self.classes_, proba)
        scores = self.decision_function(X)
        return labels_of_scores(self.classes_, scores)

    @available_if(lambda self: self.probability)
    def predict_proba(self, X: ArrayLike) -> Array:
        """Class probabilities; only with ``probability=True``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`; each row sums to 1.
        """
        check_is_fitted(self)
        X = checked_rows(self, X)
        return np.asarray(self.calibrated_.predict_proba(X))


class SVMRegressor(MachineRegressor):
    """A support vector machine for numbers, on standardised features and numbers.

    With the RBF kernel up to `n_exact` samples go to scikit-learn's `SVR`, one for each
    output; more are fitted by least squares as in `SVMClassifier`. The linear kernel has the
    squared loss beyond `epsilon`.

    Parameters
    ----------
    kernel, C, gamma, n_exact, n_whole, n_landmarks, validation_fraction
        As for `SVMClassifier`.
    epsilon : float, default=0.1
        Errors up to this many standard deviations cost nothing; by least squares they do, and
        only the choice of C is by this loss.
    tol, max_iter, random_state
        As for `SVMClassifier`.

    Attributes
    ----------
    solver_, C_, C_path_, n_iter_, n_features_in_
        As for `SVMClassifier`.
    target_mean_, target_scale_ : float or ndarray of shape (n_outputs,)
        The standardisation of the numbers.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 5))
    >>> bool(SVMRegressor().fit(X, X[:, 0]).score(X, X[:, 0]) > 0.9)
    True
    """


Classifier = SVMClassifier
Regressor = SVMRegressor
