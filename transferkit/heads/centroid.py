"""Nearest class mean of centred features of length 1 (SimpleShot); for few images per class."""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from transferkit.datasets import by_blocks, row_blocks
from transferkit.heads._labels import SoftmaxMixin
from transferkit.heads._validation import (
    Array,
    check_classification_data,
    check_features,
    check_positive,
)
from transferkit.solvers.standardize import unit_rows

__all__ = ["CentroidClassifier", "Classifier"]


class CentroidClassifier(SoftmaxMixin, BaseEstimator):
    """The class whose mean is nearest, after centring and scaling rows to length 1.

    Nothing is fitted but means, so it is the head for a handful of images per class.

    Parameters
    ----------
    center : bool, default=True
        Whether the mean of the training features is subtracted first.
    temperature : float, default=0.05
        Probabilities are the softmax of the negative squared distances over this. They
        rank well, but nothing calibrates them.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    mean_ : ndarray of shape (n_features,)
        What is subtracted.
    centroids_ : ndarray of shape (n_classes, n_features)
        Mean of each class's centred rows of length 1.
    n_features_in_ : int
        Number of features.

    References
    ----------
    Wang, Chao, Weinberger and van der Maaten (2019), "SimpleShot: revisiting
    nearest-neighbor classification for few-shot learning", CL2N. The softmax: Snell,
    Swersky and Zemel (2017), "Prototypical networks for few-shot learning", equation 2.

    Examples
    --------
    >>> head = CentroidClassifier().fit([[3, 1], [4, 1], [1, 3], [1, 5]], ["x", "x", "y", "y"])
    >>> head.predict([[9, 1]]).tolist()
    ['x']
    """

    streams: ClassVar[bool] = True

    def __init__(self, *, center: bool = True, temperature: float = 0.05) -> None:
        self.center = center
        self.temperature = temperature

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Compute the class means.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,)
            Labels of any one type.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights; a row of weight 0 is as good as absent.

        Returns
        -------
        self
        """
        check_positive("temperature", self.temperature)
        rows = check_classification_data(self, X, y, sample_weight)
        self.classes_ = rows.classes
        source = rows.source
        weight = np.ones(len(source)) if rows.weight is None else rows.weight.astype(np.float64)
        mean = np.zeros(source.shape[1])
        if self.center:
            for part, block in row_blocks(source):
                mean += weight[part] @ block.astype(np.float64)
            mean /= weight.sum()
        self.mean_ = mean.astype(source.dtype)
        sums = np.zeros((len(self.classes_), source.shape[1]))
        for part, block in row_blocks(source):
            shares = weight[part] * (rows.y[part] == np.arange(len(self.classes_))[:, None])
            sums += shares @ self._units(block).astype(np.float64)
        totals = np.bincount(rows.y, weights=weight)
        self.centroids_ = (sums / totals[:, None]).astype(source.dtype)
        return self

    def _units(self, X: Array) -> Array:
        """Centred rows of length 1; their differences can be larger than float32's largest."""
        with np.errstate(over="ignore"):
            rows = X - self.mean_
        if not np.isfinite(rows).all():
            rows = X.astype(np.float64) - self.mean_
        return unit_rows(rows)

    def decision_function(self, X: ArrayLike) -> Array:
        """Compute the scores: negative squared distances over the temperature.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            Of two classes, the second's less the first's.
        """
        check_is_fitted(self)
        scores = by_blocks(lambda rows: self._scores(check_features(self, rows)), X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def _scores(self, X: Array) -> Array:
        rows = self._units(X)
        # |a - b|² = |a|² - 2ab + |b|², of which the first term is the same for every class.
        scores: Array = (2 * rows @ self.centroids_.T - (self.centroids_**2).sum(axis=1)) - (
            rows**2
        ).sum(axis=1, keepdims=True)
        return scores / self.temperature


Classifier = CentroidClassifier
