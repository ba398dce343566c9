"""Linear discriminant analysis with a shrunken covariance; nothing to tune, quick."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from transferkit.heads._labels import LinearClassifierMixin, SoftmaxMixin
from transferkit.heads._validation import Array, check_classification_data
from transferkit.solvers.discriminant import discriminant
from transferkit.solvers.scores import score_dtype

__all__ = ["Classifier", "LDAClassifier"]


class LDAClassifier(SoftmaxMixin, LinearClassifierMixin, BaseEstimator):
    """Linear discriminant analysis by least squares with shrinkage, as scikit-learn's "lsqr".

    It needs the classes' second moments alone, so rows are read block by block, three times.

    Parameters
    ----------
    shrinkage : "auto", float or None, default="auto"
        Of the classes' covariances towards a multiple of the identity: chosen by Ledoit and
        Wolf's formula, a share from 0 to 1, or none.
    priors : array-like of shape (n_classes,), default=None
        Class probabilities, brought to the sum 1; None for the classes' shares of the samples.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    coef_ : ndarray of shape (n_classes, n_features) or (1, n_features)
        Coefficients.
    intercept_ : ndarray of shape (n_classes,) or (1,)
        Intercepts.
    n_features_in_ : int
        Number of features.

    References
    ----------
    Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance
    matrices".

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 5))
    >>> head = LDAClassifier().fit(X, np.where(X[:, 0] > 0, "cat", "dog"))
    >>> head.predict([[3, 0, 0, 0, 0]]).tolist()
    ['cat']
    """

    streams: ClassVar[bool] = True

    def __init__(self, *, shrinkage: Any = "auto", priors: Any = None) -> None:
        self.shrinkage = shrinkage
        self.priors = priors

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit; weights are not known to it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,)
            Labels of any one type.

        Returns
        -------
        self
        """
        share = isinstance(self.shrinkage, int | float) and 0 <= self.shrinkage <= 1
        if not (self.shrinkage is None or self.shrinkage == "auto" or share):
            raise ValueError(
                f'shrinkage is {self.shrinkage!r}; give "auto", None or a number from 0 to 1'
            )
        rows = check_classification_data(self, X, y)
        self.classes_ = rows.classes
        if len(rows.y) <= len(self.classes_):
            raise ValueError(
                f"there are {len(rows.y)} samples of {len(self.classes_)} classes, and the lda "
                "head needs a class of two; give more samples, or choose the centroid head"
            )
        found = discriminant(rows.source, rows.y, self._class_priors(rows.y), self.shrinkage)
        coef, intercept = found.coef, found.intercept
        if len(self.classes_) == 2:
            coef, intercept = coef[[1]] - coef[[0]], intercept[[1]] - intercept[[0]]
        kind = score_dtype(coef, found.mean, rows.source.dtype)
        self.coef_, self.intercept_ = coef.astype(kind), intercept.astype(kind)
        return self

    def _class_priors(self, y: Array) -> Array:
        """Class probabilities, which sum to 1."""
        if self.priors is None:
            return np.bincount(y) / len(y)
        priors = np.asarray(self.priors, dtype=np.float64)
        n_classes = len(self.classes_)
        if priors.shape != (n_classes,) or not (priors > 0).all():
            raise ValueError(
                f"priors is {self.priors!r}; give a number above 0 for each of {n_classes} classes"
            )
        return np.asarray(priors / priors.sum())


Classifier = LDAClassifier
