"""What a fitted linear head does with rows: scores, labels, probabilities."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from transferkit.heads._inputs import Array, checked_rows
from transferkit.heads._scores import labels_of_scores, linear_scores, log_softmax, sigmoid

__all__ = ["Logits"]


class Logits(BaseEstimator):
    """Predictions of linear scores; `fit` sets `classes_`, `coef_` and `intercept_`."""

    classes_: Any
    coef_: Array
    intercept_: Array

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
        rows = checked_rows(self, X, half=True)
        scores = linear_scores(rows, self.coef_, self.intercept_)
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
