"""`TransferClassifier` trains a classifying head on the features of a frozen backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from transferkit import artifacts
from transferkit.datasets import by_blocks
from transferkit.estimators._base import TransferEstimator
from transferkit.estimators.targets import renamed_class_weights
from transferkit.heads import create_head

__all__ = ["TransferClassifier"]


def _head_has(method: str) -> Any:
    def check(self: TransferClassifier) -> bool:
        head = getattr(self, "head_", None)
        return hasattr(create_head(self.head) if head is None else head, method)

    return check


class TransferClassifier(ClassifierMixin, TransferEstimator):
    """Classify images with a head that is trained on the features of a frozen backbone.

    Parameters
    ----------
    backbone : str, Backbone, BackboneSpec or FeatureExtractor
        A backbone, or an extractor that holds more options.
    head : str or estimator, default="linear"
        A head's name, or any scikit-learn classifier.
    features, store, device, batch_size : optional
        As for `FeatureExtractor`. If `backbone` is an extractor, these replace its own settings,
        and None keeps them. Its other parameters are set as ``backbone__NAME``.
    task : str, optional
        A name of `transferkit.tasks.asked_names` that is learnt with classes; None for
        ``"classification"``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted, as they were given; for an indicator matrix, its columns.
    task_ : Task
        The task that was learnt. Targets of several columns mean several labels per image.
    is_multilabel_ : bool
        Whether an image may have several labels.
    head_ : estimator
        The fitted head; its own labels are positions in `classes_`.
    extractor_ : FeatureExtractor
        The extractor of the features.
    failures_ : list of Failure
        Images that `fit` left out.
    train_ids_ : ndarray of shape (n_samples, 16)
        Row ids of the images that `fit` used.

    See Also
    --------
    FineTuneClassifier : Trains the backbone too.
    TransferRegressor : Learns numbers.
    FeatureExtractor : Makes the features.
    transferkit.heads.create_head : Makes a head from its name.

    Examples
    --------
    >>> import numpy as np
    >>> from transferkit import FeatureExtractor
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    >>> images[:10] //= 4  # ten dark ones
    >>> extractor = FeatureExtractor("resnet18", pretrained=False, image_size=64, store=False)
    >>> classifier = TransferClassifier(extractor).fit(images, ["dark"] * 10 + ["light"] * 10)
    >>> classifier.predict(images[[0, 15]]).tolist()
    ['dark', 'light']
    """

    default_task = "classification"

    @property
    def is_multilabel_(self) -> bool:
        """Whether an image may have several labels."""
        return self.task_.has_several_labels

    @property
    def output_names_(self) -> np.ndarray:
        """The same as `classes_`."""
        return np.asarray(self.classes_)

    def _learn_targets(self, y: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
        if self.is_multilabel_:
            self.classes_ = np.arange(y.shape[1]) if names is None else np.array(names)
            return y
        # The head is trained on positions, so that labels of any type come back as they were given.
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"the training images are all of one class, {self.classes_.tolist()[0]!r}; give "
                f"images of at least two"
            )
        codes_of = {label: code for code, label in enumerate(self.classes_.tolist())}
        self.head_ = renamed_class_weights(self.head_, codes_of)
        return codes.reshape(-1)

    def predict_features(self, X: np.ndarray) -> np.ndarray:
        """Predict the label of every row of features.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features), or unread rows
            From `extractor_`; read a block at a time.

        Returns
        -------
        ndarray of shape (n_samples,), or an indicator matrix (n_samples, n_classes)
        """
        check_is_fitted(self)
        predicted = by_blocks(lambda rows: np.asarray(self.head_.predict(rows)), X)
        return predicted if self.is_multilabel_ else np.asarray(self.classes_[predicted])

    @available_if(_head_has("predict_proba"))
    def predict_proba(self, images: Any) -> np.ndarray:
        """Predict the probability of every class for every image.

        Parameters
        ----------
        images
            Anything that `list_images` takes.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`; rows sum to 1 unless images may have several labels.
        """
        check_is_fitted(self)
        return np.asarray(self.predict_proba_features(self._rows(images)[0]))

    @available_if(_head_has("predict_proba"))
    def predict_proba_features(self, X: np.ndarray) -> np.ndarray:
        """Predict the probability of every class for every row of features.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features), or unread rows
            From `extractor_`; read a block at a time.
        """
        check_is_fitted(self)
        return by_blocks(self._probabilities, X)

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        proba = self.head_.predict_proba(X)
        if self.is_multilabel_ and isinstance(proba, list):
            # scikit-learn's own multi-output classifiers give (n, 2) per label.
            proba = np.stack([p[:, -1] for p in proba], axis=1)
        return np.asarray(proba)

    @available_if(_head_has("decision_function"))
    def decision_function(self, images: Any) -> np.ndarray:
        """The head's scores, shape ``(n_samples, n_classes)``, or ``(n_samples,)`` for two."""
        check_is_fitted(self)
        X = self._rows(images)[0]
        return by_blocks(lambda rows: np.asarray(self.head_.decision_function(rows)), X)

    def score(self, images: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return accuracy on labelled images.

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
        self.classes_ = model.classes
        if not self.is_multilabel_:
            labels = dict(enumerate(self.classes_.tolist()))
            self.head = renamed_class_weights(self.head, labels)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        head = create_head(self.head, self._head_kind)
        tags.classifier_tags.multi_label = get_tags(head).classifier_tags.multi_label
        return tags
