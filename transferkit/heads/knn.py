"""Votes of the nearest training images by cosine, weighted by a softmax; nothing is fitted."""

import logging
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from transferkit.datasets import UnreadRows, by_blocks, is_unread, row_blocks
from transferkit.heads._labels import LabelsByProbability, MultilabelMixin
from transferkit.heads._numbers import NumbersMixin
from transferkit.heads._validation import (
    Array,
    check_choice,
    check_classification_data,
    check_features,
    check_positive,
    check_regression_data,
)
from transferkit.solvers.neighbors import BLOCK, exact, faiss_flat, nearest, vote_weights
from transferkit.solvers.standardize import Targets, unit_rows

__all__ = ["Classifier", "KNNClassifier", "KNNRegressor", "Regressor"]

logger = logging.getLogger(__name__)

ROWS_FOR_ORIGIN = 1000  # any origin gives the same distances; a sample's is near enough
ROWS_AT_ONCE = 2**18  # numbers that are widened at once
SMALLEST, LARGEST = 1e-15, 1e15


class _Neighbors(BaseEstimator):
    """Base class of classifier and regressor: parameters, stored rows, and the weighted mean."""

    streams: ClassVar[bool] = True

    def __init__(
        self,
        k: int = 20,
        *,
        metric: str = "cosine",
        weights: str = "softmax",
        temperature: float = 0.07,
        center: bool = False,
        search: str = "exact",
    ) -> None:
        self.k = k
        self.metric = metric
        self.weights = weights
        self.temperature = temperature
        self.center = center
        self.search = search

    def _check_parameters(self) -> None:
        check_positive("k", self.k, kind=Integral)
        check_choice("metric", self.metric, ("cosine", "l2"))
        check_choice("weights", self.weights, ("softmax", "distance", "uniform"))
        check_positive("temperature", self.temperature)
        check_choice("search", self.search, ("exact", "faiss"))

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Models that were saved before distances were measured from an origin.
        if "X_" in state:
            state.setdefault("origin_", np.zeros(state["X_"].shape[1]))
        super().__setstate__(state)

    def _store(self, X: Any) -> None:
        mean = np.zeros(X.shape[1])
        if self.center:
            for _, block in row_blocks(X):
                mean += block.sum(axis=0, dtype=np.float64)
            mean /= len(X)
        self.mean_ = mean.astype(X.dtype)
        self.origin_ = np.zeros(X.shape[1])
        some = self._placed(np.asarray(X[:: -(-len(X) // ROWS_FOR_ORIGIN)]), np.float64)
        # This is not the rows' mean, which one row far away would move.
        self.origin_ = np.median(some, axis=0)
        if is_unread(X):
            usual = all(_is_usual(self._placed(block, X.dtype)) for _, block in row_blocks(X))
            self.X_: Any = X if usual else UnreadRows([(X, None)], np.float64)
        else:
            self.X_ = self._placed(X, X.dtype)
            if not _is_usual(self.X_):
                self.X_ = self._placed(X, np.float64)
        self.k_ = min(self.k, len(X))
        if self.k_ < self.k:
            logger.info("k = %d, and there are %d samples; all of them vote", self.k, len(X))

    def _training_rows(self, dtype: Any) -> Iterator[tuple[slice, Array]]:
        """Blocks of placed rows: one of all of them, unless they are read from elsewhere."""
        if is_unread(self.X_):
            for part, block in row_blocks(self.X_, BLOCK):
                yield part, self._placed(block, dtype)
        else:
            yield slice(0, len(self.X_)), self.X_.astype(dtype, copy=False)

    def _placed(self, X: Array, dtype: Any) -> Array:
        """Subtract the origin, so that rows lie no farther from zero than from each other.

        A squared distance is a difference of squares. For rows that lie close together but far
        from zero, float32 would have no digits left for it.
        """
        placed = np.empty(X.shape, dtype)
        step = max(16, ROWS_AT_ONCE // X.shape[1])
        for first in range(0, len(X), step):
            part = slice(first, first + step)
            rows = X[part].astype(np.float64)
            if self.center:
                rows -= self.mean_
            if self.metric == "cosine":
                rows = unit_rows(rows)
            with np.errstate(over="ignore"):  # it is seen afterwards
                placed[part] = rows - self.origin_
        return placed

    def _mean(self, X: ArrayLike, values_of: Callable[[Array], Array]) -> Array:
        """Weighted mean of the neighbours' values, of shape (n_samples, n_values).

        `values_of` gives the values of training rows, (n, k, n_values), by their positions.
        """
        return by_blocks(lambda rows: self._mean_of(check_features(self, rows), values_of), X)

    def _mean_of(self, rows: Array, values_of: Callable[[Array], Array]) -> Array:
        queries = self._placed(rows, self.X_.dtype)
        if not _is_usual(queries):
            queries = self._placed(rows, np.float64)
        search = exact if self.search == "exact" else faiss_flat
        index, squared = nearest(queries, self._training_rows(queries.dtype), self.k_, search)
        votes = vote_weights(squared, self.weights, self.temperature)
        first_values = values_of(index[:1])
        n_values = first_values.shape[2]
        mean = np.empty((len(rows), n_values), np.result_type(first_values, self.X_))
        step = max(1, BLOCK // (self.k_ * n_values))
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            mean[part] = np.einsum("ik,ikv->iv", votes[part], values_of(index[part]))
        return mean


def _is_usual(rows: Array) -> bool:
    """Whether squares of these numbers neither overflow nor vanish in float32."""
    if rows.dtype == np.float64 or not rows.size:
        return True
    largest = max(float(rows.max()), -float(rows.min()))
    return largest == 0 or SMALLEST < largest < LARGEST


class KNNClassifier(MultilabelMixin, LabelsByProbability, _Neighbors):
    """The classes of the nearest training samples, weighted by how near they are.

    By default as DINO evaluates features: cosine, 20 neighbours, votes weighted by
    ``exp(cosine / 0.07)``. The training features are kept, and saved with the model.

    Parameters
    ----------
    k : int, default=20
        Neighbours; at most as many as there are samples.
    metric : {"cosine", "l2"}, default="cosine"
        Whether rows are scaled to length 1 first.
    weights : {"softmax", "distance", "uniform"}, default="softmax"
        Softmax of ``-distance² / (2 temperature)``, for the cosine the same as that of
        ``cosine / temperature``; one over the distance; or equal votes.
    temperature : float, default=0.07
        Of the softmax. For "l2" choose one on the scale of the squared distances.
    center : bool, default=False
        Whether the mean of the training features is subtracted first.
    search : {"exact", "faiss"}, default="exact"
        Matrix products of our own, or faiss's flat index (an extra), which finds the same
        rows in float32.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or list of ndarray
        The labels, sorted; for several labels at once a list with [0, 1] for each.
    X_ : ndarray of shape (n_samples, n_features)
        The training features, centred and scaled as asked, less `origin_`. Unread rows stay as
        they are, and are read once for every 64 MB of features to predict from; such a head
        can't be saved.
    origin_ : ndarray of shape (n_features,)
        Where distances are measured from, in the middle of the features.
    y_ : ndarray of shape (n_samples,) or (n_samples, n_labels)
        Positions in `classes_`, or 0 and 1 for several labels.
    k_ : int
        Neighbours that vote.
    n_features_in_ : int
        Number of features.

    References
    ----------
    Wu, Xiong, Yu and Lin (2018), "Unsupervised feature learning via non-parametric
    instance discrimination", section 3.4; Caron et al. (2021), "Emerging properties in
    self-supervised vision transformers".

    Examples
    --------
    >>> head = KNNClassifier(k=2).fit([[3, 1], [4, 1], [1, 3], [1, 5]], ["x", "x", "y", "y"])
    >>> head.predict([[9, 1]]).tolist()
    ['x']
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Keep the samples; weights are not known to it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any one type; or 0 and 1 for each of several labels.

        Returns
        -------
        self
        """
        self._check_parameters()
        rows = check_classification_data(self, X, y)
        self.classes_, self.y_ = rows.classes, rows.y
        self._store(rows.source)
        return self

    def predict_proba(self, X: ArrayLike) -> Array:
        """Shares of the votes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In the order of `classes_`; for several labels the share for each. A class
            without a vote has exactly 0.
        """
        check_is_fitted(self)
        if self.y_.ndim == 2:
            return self._mean(X, lambda index: self.y_[index])
        member = np.eye(len(self.classes_), dtype=np.int8)
        return self._mean(X, lambda index: member[self.y_[index]])


class KNNRegressor(NumbersMixin, _Neighbors):
    """The mean of the nearest training samples' numbers, weighted by how near they are.

    Parameters
    ----------
    k, metric, weights, temperature, center, search
        As for `KNNClassifier`.

    Attributes
    ----------
    X_, origin_, k_, n_features_in_
        As for `KNNClassifier`.
    y_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        The numbers.

    Examples
    --------
    >>> head = KNNRegressor(k=1).fit([[3, 1], [4, 1], [1, 3], [1, 5]], [1.0, 2.0, 3.0, 4.0])
    >>> head.predict([[8, 2]]).tolist()
    [2.0]
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Keep the samples; weights are not known to it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numbers.

        Returns
        -------
        self
        """
        self._check_parameters()
        rows = check_regression_data(self, X, y)
        self.y_ = rows.y
        self._store(rows.source)
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
        targets = Targets.of(self.y_, None)
        mean = self._mean(X, lambda index: targets.scaled[index])
        return np.asarray(
            (mean[:, 0] if self.y_.ndim == 1 else mean) * targets.scale + targets.mean
        )


Classifier = KNNClassifier
Regressor = KNNRegressor
