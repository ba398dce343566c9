"""k-fold measuring: every row is predicted by a model that wasn't trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from transferkit.datasets import Dataset, chosen_rows
from transferkit.estimators._base import TransferEstimator

__all__ = ["FoldModels", "fit_folds"]


class FoldModels:
    """The models of several folds, used like one. Each predicts the rows of its own fold.

    Parameters
    ----------
    models : sequence of TransferEstimator
        Model k was trained on the rows of all folds but the k-th.
    fold_of : ndarray of int, shape (n_samples,)
        Fold of each row that is predicted.
    whole : TransferEstimator
        A model of the same kind that knows all classes or targets: whose names it has.
    """

    def __init__(
        self, models: Sequence[Any], fold_of: np.ndarray, whole: TransferEstimator
    ) -> None:
        self.models, self.fold_of, self.whole = list(models), fold_of, whole

    def __getattr__(self, name: str) -> Any:
        # Task, classes and names of targets are those of a fitted model.
        if name.endswith("_") and not name.endswith("__"):
            return getattr(self.whole, name)
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def predict_features(self, X: np.ndarray) -> np.ndarray:
        """Predict every row with the model of its fold.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            The rows that the folds divide.
        """
        parts = [
            m.predict_features(chosen_rows(X, self.fold_of == k)) for k, m in enumerate(self.models)
        ]
        # One fold may lack the class of the longest name, so the folds' types are joined.
        return self._ordered(parts, np.result_type(*parts))

    @available_if(lambda self: hasattr(self.models[0], "predict_proba_features"))
    def predict_proba(self, images: Any) -> np.ndarray:
        """Raise an error, because folds are known for rows of features and not for images."""
        raise TypeError("folds divide rows, not images; call predict_proba_features")

    @available_if(lambda self: hasattr(self.models[0], "predict_proba_features"))
    def predict_proba_features(self, X: np.ndarray) -> np.ndarray:
        """Predict out-of-fold probabilities, 0 for classes that the fold's model wasn't trained on.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            The rows that the folds divide.
        """
        classes = self.whole.classes_.tolist()
        parts = []
        for number, model in enumerate(self.models):
            own = model.predict_proba_features(chosen_rows(X, self.fold_of == number))
            wide = np.zeros((len(own), len(classes)), own.dtype)
            wide[:, [classes.index(label) for label in model.classes_.tolist()]] = own
            parts.append(wide)
        return self._ordered(parts, np.result_type(*parts))

    def _ordered(self, parts: list[np.ndarray], dtype: Any) -> np.ndarray:
        rows = np.empty((len(self.fold_of), *parts[0].shape[1:]), dtype)
        for number, part in enumerate(parts):
            rows[self.fold_of == number] = part
        return rows


def fit_folds(estimator: TransferEstimator, data: Dataset, fold_of: np.ndarray) -> FoldModels:
    """Fit a copy of an estimator for each fold, on all rows but the fold's.

    They are fitted one after the other, or by the workers of a ``joblib.parallel_config``: its
    processes, Dask's or Ray's.

    Parameters
    ----------
    estimator : TransferEstimator
        Fitted on all rows already; it is the models' ``whole``.
    data : Dataset
        All rows, as for `TransferEstimator.fit_features`.
    fold_of : ndarray of int, shape (n_samples,)
        From `transferkit.datasets.folds`.

    Examples
    --------
    >>> import numpy as np
    >>> from transferkit import TransferClassifier
    >>> from transferkit.datasets import Dataset, folds
    >>> X = np.random.default_rng(0).normal(size=(30, 4))
    >>> data = Dataset(X=X, y=np.where(X[:, 0] > 0, "yes", "no"))
    >>> whole = TransferClassifier("resnet18", "centroid").fit_features(data)
    >>> models = fit_folds(whole, data, folds(30, 5, 0))
    >>> bool((models.predict_features(X) == data.y).mean() > 0.8)
    True
    """
    check_is_fitted(estimator)
    # One after the other, unless the user has named workers (`joblib.parallel_config`).
    models = Parallel()(
        delayed(_fitted)(clone(estimator), data, np.flatnonzero(fold_of != number))
        for number in range(int(fold_of.max()) + 1)
    )
    return FoldModels(models, fold_of, estimator)


def _fitted(estimator: TransferEstimator, data: Dataset, positions: np.ndarray) -> Any:
    return estimator.fit_features(data.select(positions))
