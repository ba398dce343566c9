"""`TransferRegressor` trains a regression head on the features of a frozen backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from transferkit import artifacts
from transferkit.datasets import by_blocks
from transferkit.estimators._base import TransferEstimator

__all__ = ["TransferRegressor"]


class TransferRegressor(RegressorMixin, TransferEstimator):
    """Predict numbers from images with a head that is trained on a frozen backbone's features.

    Parameters
    ----------
    backbone : str, Backbone, BackboneSpec or FeatureExtractor
        A backbone, or an extractor that holds more options.
    head : str or estimator, default="linear"
        A head's name (``linear`` is a ridge), or any scikit-learn regressor.
    features, store, device, batch_size : optional
        As for `FeatureExtractor`. If `backbone` is an extractor, these replace its own settings,
        and None keeps them. Its other parameters are set as ``backbone__NAME``.
    task : str, optional
        A name of `transferkit.tasks.asked_names` that is learnt with numbers; None for
        ``"regression"``.

    Attributes
    ----------
    target_names_ : ndarray of shape (n_targets,)
        Names of the targets, or their positions.
    head_, extractor_, failures_, train_ids_
        As for `TransferClassifier`.

    See Also
    --------
    FineTuneRegressor : Trains the backbone too.
    TransferClassifier : Learns classes.
    FeatureExtractor : Makes the features.

    Examples
    --------
    >>> import numpy as np
    >>> from transferkit import FeatureExtractor
    >>> rng = np.random.default_rng(0)
    >>> light = rng.integers(1, 200, 30)
    >>> images = rng.integers(0, 50, (30, 64, 64, 3)) + light[:, None, None, None]
    >>> extractor = FeatureExtractor("resnet18", pretrained=False, image_size=64, store=False)
    >>> regressor = TransferRegressor(extractor).fit(images.astype(np.uint8), light)
    >>> bool(regressor.score(images.astype(np.uint8), light) > 0.9)
    True
    """

    default_task = "regression"

    @property
    def output_names_(self) -> np.ndarray:
        """The same as `target_names_`."""
        return np.asarray(self.target_names_)

    def _learn_targets(self, y: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
        n_targets = 1 if y.ndim == 1 else y.shape[1]
        self.target_names_ = np.arange(n_targets) if names is None else np.array(names)
        return y

    def predict_features(self, X: np.ndarray) -> np.ndarray:
        """Predict the numbers for every row of features.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features), or unread rows
            From `extractor_`; read a block at a time.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
        """
        check_is_fitted(self)
        return by_blocks(lambda rows: np.asarray(self.head_.predict(rows)), X)

    def score(self, images: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return R² on labelled images.

        Parameters
        ----------
        images
            Anything that `list_images` takes.
        y : array-like, optional
            The truth; by default the labels of the folders or the CSV.
        sample_weight : array-like of shape (n_samples,), optional
            Weights.
        """
        return float(super().score(*self._with_truth(images, y), sample_weight))

    def _restore(self, model: artifacts.Model) -> None:
        self.target_names_ = model.classes

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
