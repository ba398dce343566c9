"""What the estimators of images share: parameters, features, fit, files."""

from __future__ import annotations

import abc
import contextlib
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from transferkit import artifacts
from transferkit.backbones import Backbone
from transferkit.estimators.extractor import FeatureExtractor, check_vectors, side_by_side
from transferkit.estimators.targets import column_names, training_parts
from transferkit.heads import create_head
from transferkit.images import Failure
from transferkit.spec import BackboneSpec
from transferkit.store import FeatureStore

__all__ = ["TransferEstimator"]


class TransferEstimator(BaseEstimator, abc.ABC):
    """An estimator of images: a frozen backbone's features and a head."""

    task: ClassVar[str]

    def __init__(
        self,
        backbone: str | Backbone | BackboneSpec | FeatureExtractor,
        head: Any = "linear",
        *,
        features: str | Sequence[str] | None = None,
        store: FeatureStore | str | Path | bool | None = None,
        device: str | None = None,
        batch_size: int | None = None,
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.features = features
        self.store = store
        self.device = device
        self.batch_size = batch_size

    # ---- parameters: a head given by name has parameters too ----

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters; with `deep`, those of the head too, as ``head__NAME``."""
        params: dict[str, Any] = super().get_params(deep)
        if deep and isinstance(self.head, str):
            own = create_head(self.head, self.task).get_params()
            params |= {f"head__{name}": value for name, value in own.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters.

        Parameters
        ----------
        **params
            ``head__NAME`` sets one of the head's, and ``backbone__NAME`` one of the
            extractor's, whether these were given by name or made.
        """
        if "head" in params:
            self.head = params.pop("head")
        if "backbone" in params:
            self.backbone = params.pop("backbone")
        if any(name.startswith("backbone__") for name in params) and not isinstance(
            self.backbone, FeatureExtractor
        ):
            self.backbone = FeatureExtractor(self.backbone)
        if isinstance(self.head, str) and any(name.startswith("head__") for name in params):
            self.head = create_head(self.head, self.task)
        super().set_params(**params)
        return self

    # ---- fit ----

    def fit(
        self,
        images: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        validation: tuple[Any, Any] | Any = None,
        on_error: str = "raise",
    ) -> Self:
        """Extract features and train the head.

        Parameters
        ----------
        images
            Anything that `list_images` takes: a folder, a CSV, paths, images, arrays.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
            What is to be learnt: labels, an indicator matrix of several labels per image, or
            numbers; by default the labels of the folders or the CSV, whose ``train`` split is
            used if it has splits, and whose ``val`` split is the validation part.
        sample_weight : array-like of shape (n_samples,), optional
            Passed to the head.
        validation : (images, y) or ImageSet with labels, optional
            Images that choose the head's hyper-parameters; the head is then fitted on both
            parts. A head that chooses nothing is fitted on both parts at once.
        on_error : {"raise", "skip"}, default="raise"
            Whether unreadable images raise, or are left out with their labels.

        Returns
        -------
        self

        Raises
        ------
        UnreadableImages
            If images can't be read and `on_error` is ``"raise"``; every one is named.
        ValueError
            If there are no labels, or not one per image.
        """
        with self._as_before_on_error():
            self._fit(images, y, sample_weight, validation, on_error)
        return self

    @contextlib.contextmanager
    def _as_before_on_error(self) -> Iterator[None]:
        """Undo a fit that failed: a model that was trained before is still one."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _fit(self, images: Any, y: Any, sample_weight: Any, validation: Any, on_error: str) -> None:
        is_own = y is None
        train, y, held = training_parts(images, y, validation, self.task)
        self.extractor_ = self._extractor()
        self.head_ = create_head(self.head, self.task)
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight)
            if sample_weight.shape[:1] != (len(y),):
                raise ValueError(
                    f"sample_weight has {sample_weight.size} values for {len(y)} images; give "
                    f"one per image"
                )
        X, kept, ids, self.failures_ = self._rows(train, on_error, is_training=True)
        y = y[kept]
        weights = {} if sample_weight is None else {"sample_weight": sample_weight[kept]}
        X_held = None
        if held is not None:
            X_held, kept, held_ids, failures = self._rows(held[0], on_error, is_training=True)
            y = np.concatenate([y, held[1][kept]])
            ids, self.failures_ = ids + held_ids, self.failures_ + failures
        targets = self._learn_targets(y, column_names(train, y, is_own=is_own))
        self._fit_head(X, X_held, targets, weights)
        self._keep_ids(ids)
        # What the card of a saved model tells beside what the model knows by itself.
        self.facts_: dict[str, Any] = {}

    def _keep_ids(self, ids: Sequence[bytes]) -> None:
        self.train_ids_ = np.frombuffer(b"".join(ids), np.uint8).reshape(len(ids), -1)

    @abc.abstractmethod
    def _learn_targets(self, y: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
        """Set what is known of the targets; return them as the head takes them."""

    def _fit_head(
        self, X: np.ndarray, X_held: np.ndarray | None, y: np.ndarray, weights: dict[str, Any]
    ) -> None:
        n = len(X)
        if X_held is None:
            self.head_.fit(X, y, **weights)
        elif "validation" in inspect.signature(self.head_.fit).parameters:
            self.head_.fit(X, y[:n], validation=(X_held, y[n:]), **weights)
        else:
            weights = {k: np.concatenate([w, np.ones(len(X_held))]) for k, w in weights.items()}
            self.head_.fit(np.concatenate([X, X_held]), y, **weights)

    def _extractor(self) -> FeatureExtractor:
        given = {
            name: getattr(self, name)
            for name in ("features", "store", "device", "batch_size")
            if getattr(self, name) is not None
        }
        if not isinstance(self.backbone, FeatureExtractor):
            return FeatureExtractor(self.backbone, **given)
        extractor = clone(self.backbone).set_params(**given)
        assert isinstance(extractor, FeatureExtractor)
        return extractor

    def _rows(
        self, images: Any, on_error: str = "raise", *, is_training: bool = False
    ) -> tuple[np.ndarray, np.ndarray, list[bytes], list[Failure]]:
        """Features, the images that have them, their ids, and those that can't be read."""
        check_vectors(self.extractor_.feature_names)
        if is_training and self.extractor_.reduce == "concat":
            self.extractor_.fit(images)
        extraction = self.extractor_.extract(images, on_error=on_error, remember=is_training)
        X = side_by_side(extraction)
        return X, extraction.kept, list(extraction.ids), list(extraction.failures)

    # ---- predict ----

    def predict(self, images: Any) -> np.ndarray:
        """Prediction for every image.

        Parameters
        ----------
        images
            Anything that `list_images` takes.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the form of the targets that were learnt.

        Raises
        ------
        UnreadableImages
            If images can't be read; every one is named.
        """
        check_is_fitted(self)
        return self.predict_features(self._rows(images)[0])

    @abc.abstractmethod
    def predict_features(self, X: np.ndarray) -> np.ndarray:
        """Prediction for every row of features."""

    # ---- files ----

    def save(
        self, path: str | Path, *, overwrite: bool = False, include_weights: bool | None = None
    ) -> Path:
        """Save the trained model as a folder that loads on another machine.

        Parameters
        ----------
        path : path
            The folder; it is written whole or not at all.
        overwrite : bool, default=False
            Whether a model that is there is replaced.
        include_weights : bool, optional
            Whether the backbone's weights go along; by default they do if they came from a
            local file, and stay on the hub if they came from there.

        Returns
        -------
        Path
            The folder.
        """
        check_is_fitted(self)
        model = artifacts.Model(
            task=self._saved_task(),
            backbone=self.extractor_.resolve(),
            features=tuple(self.extractor_.feature_names),
            precision=self.extractor_.precision,
            storage=self.extractor_.storage,
            reduce=self.extractor_.reduce,
            n_images=getattr(self.extractor_, "n_images_", 1),
            classes=self._saved_classes(),
            head=self.head_,
            train_ids=self.train_ids_,
            facts=self.facts_,
        )
        return artifacts.save(path, model, overwrite=overwrite, include_weights=include_weights)

    @abc.abstractmethod
    def _saved_task(self) -> str:
        """One of `artifacts.TASKS`."""

    @abc.abstractmethod
    def _saved_classes(self) -> np.ndarray:
        """Names of the classes, the labels or the targets."""

    @abc.abstractmethod
    def _restore(self, model: artifacts.Model) -> None:
        """Set what `_learn_targets` sets."""

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        store: FeatureStore | str | Path | bool | None = None,
        device: str = "auto",
        engine: str = "auto",
        batch_size: int | None = None,
        progress: bool = False,
    ) -> Self:
        """Load a saved model; nothing in its folder can run code.

        Parameters
        ----------
        path : path
            The folder that `save` wrote.
        store, device, engine, batch_size, progress
            As for `FeatureExtractor`.

        Raises
        ------
        ValueError
            If it isn't a model, is damaged, or its backbone's weights are others now.
        """
        model = artifacts.load(path)
        is_regression = model.task == "regression"
        if is_regression != (cls.task == "regression"):
            other = "TransferRegressor" if is_regression else "TransferClassifier"
            raise ValueError(
                f"model {str(path)!r} was trained for {model.task}; load it with {other}.load"
            )
        extractor = FeatureExtractor(
            model.backbone,
            list(model.features) if len(model.features) > 1 else model.features[0],
            precision=model.precision,
            storage=model.storage,
            reduce=model.reduce,
            store=store,
            device=device,
            engine=engine,
            batch_size=batch_size,
            progress=progress,
        )
        if model.reduce == "concat":
            extractor.n_images_ = model.n_images
        estimator = cls(extractor, head=clone(model.head))
        estimator.extractor_ = extractor
        estimator.head_ = model.head
        estimator.train_ids_ = model.train_ids
        estimator.failures_ = []
        estimator.facts_ = dict(model.facts)
        estimator._restore(model)
        return estimator

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        return tags
