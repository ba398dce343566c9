"""Linear discriminant analysis with a shrunken covariance; nothing to tune, quick."""

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from transferkit.heads._labels import LinearClassifierMixin, SoftmaxMixin
from transferkit.heads._validation import check_classification_data
from transferkit.solvers.scores import score_dtype
from transferkit.solvers.standardize import standardize_features, standardize_with

__all__ = ["Classifier", "LDAClassifier"]


class LDAClassifier(SoftmaxMixin, LinearClassifierMixin, BaseEstimator):
    """scikit-learn's linear discriminant analysis, by least squares with shrinkage.

    Parameters
    ----------
    shrinkage : "auto", float or None, default="auto"
        Of the classes' covariances towards a multiple of the identity: chosen by Ledoit and
        Wolf's formula, a share from 0 to 1, or none.
    priors : array-like of shape (n_classes,), default=None
        Class probabilities; None for the classes' shares of the samples.

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
        if len(rows.X) <= len(self.classes_):
            raise ValueError(
                f"there are {len(rows.X)} samples of {len(self.classes_)} classes, and the lda "
                "head needs a class of two; give more samples, or choose the centroid head"
            )
        model = LinearDiscriminantAnalysis(
            solver="lsqr", shrinkage=self.shrinkage, priors=self.priors
        )
        with warnings.catch_warnings():
            # A class of one sample adds nothing to the covariance, as it should.
            warnings.filterwarnings("ignore", "Only one sample available", UserWarning)
            # Centred, because class means far from zero leave float32 no digits for differences.
            scaled, mean, scale = standardize_features(rows.X, None)
            if self.shrinkage != "auto":  # it is towards the identity on the features as given
                unit = 2.0 ** np.round(np.log2(scale.max()))
                scaled, scale = standardize_with(rows.X, mean, unit + 0 * scale, rows.X.dtype), unit
            model.fit(scaled, rows.y)
        coef = model.coef_.astype(np.float64) / scale
        kind = score_dtype(coef, mean, rows.X.dtype)
        self.coef_ = coef.astype(kind)
        self.intercept_ = (model.intercept_ - coef @ mean).astype(kind)
        return self


Classifier = LDAClassifier
