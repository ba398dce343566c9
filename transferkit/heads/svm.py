"""Support vector machine: RBF kernel (by least squares where rows are many) or linear."""

from collections.abc import Iterable
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.svm import SVC, SVR
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from transferkit.datasets.splits import draw_stratified, draw_unstratified
from transferkit.heads._labels import LabelsByScore, labels_of_probabilities
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
from transferkit.solvers._quiet import without_class_count_warning
from transferkit.solvers.linear import LinearProblems
from transferkit.solvers.selection import Candidate, best, walk_path
from transferkit.solvers.standardize import Targets, standardize_features, standardize_with
from transferkit.solvers.statistics import FeatureStatistics

__all__ = ["Classifier", "Regressor", "SVMClassifier", "SVMRegressor"]

# Candidates of C for models that are linear in the features, or in the kernel's.
CS = {"linear": np.geomspace(1e-6, 1, 7), "squares": np.geomspace(3e-2, 1e2, 8)}
CS["nystroem"] = CS["squares"]
# Used by the exact kernel machine, and if no rows can be held out.
C_FIXED = {"linear": 1e-3, "squares": 10.0, "nystroem": 10.0, "exact": 10.0}
# The path only ranks candidates, for which a rough solution is enough.
LOOSE = 50


class _KernelMachine(BaseEstimator):
    """Base class of classifier and regressor: the choice of the solver and of C, and the scores."""

    kernel: str
    C: Any
    gamma: Any
    n_exact: int
    n_whole: int
    n_landmarks: int
    validation_fraction: float
    tol: float
    max_iter: int
    random_state: Any

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

    def _standardize(
        self, X: Array, weight: Array | None, known: FeatureStatistics | None
    ) -> Array:
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
        """Check rows to predict, and standardise them with the training mean and scale."""
        check_is_fitted(self)
        rows = check_features(self, X)
        return standardize_with(rows, self.mean_, self.scale_, rows.dtype)

    def _scores(self, rows: Array) -> Array:
        """Scores of `_placed` rows by all solvers but scikit-learn's, (n_samples, n_scores)."""
        if self.solver_ == "linear":
            return np.asarray(rows @ self.coef_.T + self.intercept_)
        from transferkit.solvers.kernel import kernel_scores  # late: it needs torch

        return kernel_scores(rows, self.landmarks_, self.dual_coef_.T, self.intercept_, self.gamma_)

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
            self._fit_kernel(X, Y, weight, held, epsilon)

    def _fit_linear(
        self, X: Array, Y: Array, weight: Array | None, held: Array | None, about: dict[str, Any]
    ) -> None:
        """Minimise the squared hinge, or the squared loss beyond epsilon."""
        if held is not None:
            train_weight, test_weight = (None, None) if weight is None else (
                weight[~held], weight[held],
            )  # fmt: skip
            problems = LinearProblems.margins(X[~held], Y[~held], train_weight, **about)
            test = [(X, np.flatnonzero(held))]
            path = problems.path(CS["linear"], test, tol=LOOSE * self.tol, max_iter=self.max_iter)
            models = ((C, scores) for C, _, scores in path)
            # Beyond the best C the path ends, because every larger one takes longer.
            self._choose(models, Y[held], test_weight, about["epsilon"], patience=1)
        problems = LinearProblems.margins(X, Y, weight, **about)
        solution = problems.solve(self.C_, tol=self.tol, max_iter=self.max_iter)
        self.n_iter_ = solution.n_iter
        self.coef_, self.intercept_ = (
            solution.coef.astype(X.dtype),
            solution.intercept.astype(X.dtype),
        )

    def _fit_kernel(
        self, X: Array, Y: Array, weight: Array | None, held: Array | None, epsilon: float | None
    ) -> None:
        """Fit by least squares with the kernel, on all rows or on landmarks."""
        import torch  # late: the list of heads shouldn't wait for it

        rows = torch.from_numpy(np.ascontiguousarray(X))
        machine = self._least_squares(rows)
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
            models = (
                (C, solution.fitted.numpy()[held])
                for C, solution in zip(Cs.tolist(), path, strict=True)
            )
            self._choose(models, Y[held], None if weight is None else weight[held], epsilon)
        (solution,) = machine.solve(
            targets, w, [0.5 / self.C_], tol=self.tol, max_iter=self.max_iter
        )
        self.landmarks_ = machine.terms.numpy()
        self.n_iter_ = max(1, solution.n_iter)
        self.dual_coef_, self.intercept_ = (
            solution.coef.T.numpy().copy(),
            solution.intercept.numpy(),
        )

    def _least_squares(self, rows: Any) -> Any:
        """The least-squares machine of the chosen solver on some rows."""
        import torch

        from transferkit.solvers.kernel import LeastSquaresSVM, Nystroem

        random = check_random_state(self.random_state)
        if self.solver_ == "nystroem":
            chosen = random.permutation(len(rows))[: self.n_landmarks]
            return Nystroem(rows, rows[torch.from_numpy(chosen)], self.gamma_)
        generator = torch.Generator().manual_seed(int(random.randint(2**31)))
        return LeastSquaresSVM(rows, self.gamma_, generator)

    def _choose(
        self,
        models: Iterable[tuple[float, Array]],
        Y: Array,
        weight: Array | None,
        epsilon: float | None,
        patience: int | None = None,
    ) -> None:
        """Set C to the one with the smallest loss of the held-out scores."""

        def judge(model: tuple[float, Array]) -> Candidate:
            C, scores = model
            margin = 1 - Y * scores if epsilon is None else abs(Y - scores) - epsilon
            each = (np.maximum(0, margin) ** 2).mean(axis=1)
            return Candidate(C, float(np.average(each, weights=weight)))

        tried = walk_path(models, judge, patience=patience)
        self.C_path_ = [{"C": candidate.C, "loss": candidate.loss} for candidate in tried]
        self.C_ = best(tried).C


class SVMClassifier(LabelsByScore, _KernelMachine):
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
        rows = check_classification_data(self, X, y, sample_weight, validation)
        weight, held = with_class_weights(rows, self.class_weight), rows.held
        self.classes_ = rows.classes
        known = statistics and statistics.known(len(rows.X), rows.X[0], weight)
        scaled = self._standardize(rows.X, weight, known)
        if self.solver_ == "exact":
            self.C_, self.C_path_ = C_FIXED["exact"] if self.C == "auto" else float(self.C), []
            with without_class_count_warning(rows.y):
                self.machine_ = SVC(C=self.C_, gamma=self.gamma_).fit(scaled, rows.y, weight)
            self.n_iter_ = int(np.max(self.machine_.n_iter_))
        else:
            if held is None:
                held = draw_stratified(rows.y, self.validation_fraction, self.random_state)
            if self.C != "auto" or (held is not None and len(np.unique(rows.y[~held])) < 2):
                held = None
            hot = rows.y[:, None] == np.arange(len(self.classes_))
            signs = 2.0 * (hot[:, 1:] if len(self.classes_) == 2 else hot) - 1
            self._fit_scores(scaled, signs, weight, held=held, epsilon=None, known=known)
        if self.probability:
            self.calibrated_ = self._calibrated(rows.X, rows.y, weight)
        return self

    def _calibrated(self, X: Array, codes: Array, weight: Array | None) -> CalibratedClassifierCV:
        """Fit Platt's sigmoid on scores from cross-validation, at the C that was chosen."""
        folds = min(5, int(np.bincount(codes).min()))
        if folds < 2:
            raise ValueError(
                "probability is True, and a class has a single sample; give two samples or more "
                "of each class, or probability=False"
            )
        inner = clone(self).set_params(probability=False, C=self.C_, class_weight=None)
        model = CalibratedClassifierCV(inner, cv=folds, ensemble=False)
        return model.fit(X, codes, sample_weight=weight)

    def decision_function(self, X: ArrayLike) -> Array:
        """Compute the scores, which are larger the more confident a prediction is.

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
        return super().predict(X)

    @available_if(lambda self: self.probability)
    def predict_proba(self, X: ArrayLike) -> Array:
        """Compute class probabilities, which needs ``probability=True``.

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
        X = check_features(self, X)
        return np.asarray(self.calibrated_.predict_proba(X))


class SVMRegressor(NumbersMixin, _KernelMachine):
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
        self.kernel = kernel
        self.C = C
        self.epsilon = epsilon
        self.gamma = gamma
        self.n_exact = n_exact
        self.n_whole = n_whole
        self.n_landmarks = n_landmarks
        self.validation_fraction = validation_fraction
        self.tol = tol
        self.max_iter = max_iter
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
        rows = check_regression_data(self, X, y, sample_weight, validation)
        held = rows.held
        targets = Targets.of(rows.y, rows.weight)
        known = statistics and statistics.known(len(rows.X), rows.X[0], rows.weight)
        placed = self._standardize(rows.X, rows.weight, known)
        if self.solver_ == "exact":
            self.C_, self.C_path_ = C_FIXED["exact"] if self.C == "auto" else float(self.C), []
            machine = SVR(C=self.C_, gamma=self.gamma_, epsilon=self.epsilon)
            self.machines_ = [clone(machine).fit(placed, t, rows.weight) for t in targets.scaled.T]
            self.n_iter_ = max(int(machine.n_iter_) for machine in self.machines_)
        else:
            if held is None:
                held = draw_unstratified(len(rows.X), self.validation_fraction, self.random_state)
            if self.C != "auto":
                held = None
            self._fit_scores(
                placed, targets.scaled, rows.weight, held=held, epsilon=self.epsilon, known=known
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
            scaled = np.column_stack([machine.predict(placed) for machine in self.machines_])
        else:
            scaled = self._scores(placed)
        return self._in_target_units(scaled)


Classifier = SVMClassifier
Regressor = SVMRegressor
