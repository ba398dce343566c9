"""Turn scores and probabilities into labels, in the same way for every classifier.

`labels_of_scores` and `labels_of_probabilities` say which label wins. The mixins give a head its
prediction methods: `LabelsByScore` if it has a `decision_function`, `SoftmaxMixin` if the softmax
of that one is its probability, `LinearClassifierMixin` if that one is linear, and
`LabelsByProbability` if the probabilities come first. `MultilabelMixin` says that a head takes
several labels per sample.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from transferkit.datasets import by_blocks
from transferkit.heads._validation import Array, check_features
from transferkit.solvers.losses import log_softmax, sigmoid
from transferkit.solvers.scores import linear_scores

__all__ = [
    "LabelsByProbability",
    "LabelsByScore",
    "LinearClassifierMixin",
    "MultilabelMixin",
    "SoftmaxMixin",
    "labels_of_probabilities",
    "labels_of_scores",
    "probabilities_of_scores",
]


def labels_of_scores(classes: Any, scores: Array) -> Array:
    """Choose the label of the highest score; for two classes or several labels, by scores above 0.

    Parameters
    ----------
    classes : ndarray, or list of ndarray
        A head's `classes_`; a list for several labels at once.
    scores : ndarray of shape (n_samples, n_classes), (n_samples,) or (n_samples, n_labels)
        What `decision_function` returns.
    """
    if isinstance(classes, list):
        return np.asarray(classes[0][(scores > 0).astype(int)])
    index = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
    return np.asarray(classes[index])


def labels_of_probabilities(classes: Any, proba: Array) -> Array:
    """Choose the most probable label or, of several labels at once, all above one half.

    Parameters
    ----------
    classes : ndarray, or list of ndarray
        A head's `classes_`.
    proba : ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
        What `predict_proba` returns.
    """
    if isinstance(classes, list):
        return np.asarray(classes[0][(proba > 0.5).astype(int)])
    return np.asarray(classes[proba.argmax(axis=1)])


def probabilities_of_scores(classes: Any, scores: Array) -> Array:
    """Compute the softmax of the scores or, for several labels at once, the sigmoid of each.

    Parameters
    ----------
    classes : ndarray, or list of ndarray
        A head's `classes_`.
    scores : ndarray
        Of the shapes that `labels_of_scores` takes, or with one column for two classes.
    """
    if isinstance(classes, list):
        return sigmoid(scores)
    return np.asarray(np.exp(log_softmax(scores)))


class LabelsByScore(ClassifierMixin):
    """Mixin that predicts by the scores of a classifier's `decision_function`."""

    classes_: Any

    def predict(self, X: ArrayLike) -> Array:
        """Labels, as they were given to `fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            The label of the highest score of each row; for several labels 0 or 1 for each.
        """
        scores = self.decision_function(X)  # first: it says so if the head isn't fitted
        return labels_of_scores(self.classes_, scores)


class LabelsByProbability(ClassifierMixin):
    """Mixin that predicts by the probabilities of a classifier's `predict_proba`."""

    classes_: Any

    def predict(self, X: ArrayLike) -> Array:
        """Labels, as they were given to `fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            The most probable label of each row; for several labels 0 or 1 for each.
        """
        proba = self.predict_proba(X)  # first: it says so if the head isn't fitted
        return labels_of_probabilities(self.classes_, proba)


class SoftmaxMixin(LabelsByScore):
    """Mixin for a classifier whose scores are logarithms of probabilities, up to a constant."""

    def predict_proba(self, X: ArrayLike) -> Array:
        """Class probabilities: the softmax of `decision_function`.

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
        scores = self.decision_function(X)
        return probabilities_of_scores(self.classes_, scores)


class LinearClassifierMixin(LabelsByScore):
    """Mixin for scores that are linear in the features; `fit` sets `coef_` and `intercept_`."""

    coef_: Array
    intercept_: Array

    def decision_function(self, X: ArrayLike) -> Array:
        """Linear scores.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            Scores; of two classes, those of the second. For several labels
            (n_samples, n_labels).
        """
        check_is_fitted(self)
        scores = by_blocks(
            lambda rows: linear_scores(
                check_features(self, rows, half=True), self.coef_, self.intercept_
            ),
            X,
        )
        return scores[:, 0] if scores.shape[1] == 1 else scores


class MultilabelMixin:
    """Mixin for a classifier that takes several labels per sample, as columns of 0 and 1."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.classifier_tags.multi_label = True
        return tags
