"""Base class of the estimators of images: parameters, features, fitting, saving and loading."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from transferkit import artifacts
from transferkit.backbones import Backbone
from transferkit.datasets import Dataset
from transferkit.digests import ID_BYTES
from transferkit.estimators._rows import (
    as_the_head_reads,
    checked_weights,
    kept_apart,
    labelled_rows,
    own_hold_out,
    takes_validation,
    with_ids,
)
from transferkit.estimators.extractor import FeatureExtractor, check_vectors, side_by_side
from transferkit.estimators.targets import column_names, targets_of, training_parts, with_groups
from transferkit.heads import create_head
from transferkit.images import Failure, list_images
from transferkit.memory import memory_for_features
from transferkit.spec import BackboneSpec
from transferkit.store import FeatureStore
from transferkit.tasks import Task, asked_name, dense, task_of

__all__ = ["TransferEstimator"]


class TransferEstimator(BaseEstimator, abc.ABC):
    """Base class: a head is trained on the features of a frozen backbone."""

    default_task: ClassVar[str]
    task: str | None = None

    def __init__(
        self,
        backbone: str | Backbone | BackboneSpec | FeatureExtractor,
        head: Any = "linear",
        *,
        features: str | Sequence[str] | None = None,
        store: FeatureStore | str | Path | bool | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        task: str | None = None,
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.features = features
        self.store = store
        self.device = device
        self.batch_size = batch_size
        self.task = task

    @property
    def _asked_task(self) -> Task:
        """The task that the parameters ask for, before the targets are known."""
        own = task_of(self.default_task)
        asked = own if self.task is None else task_of(self.task)
        if asked.has_classes != own.has_classes:
            kind = type(self).__name__
            raise ValueError(f"{kind} can't learn {asked.name}; use {asked.estimator}")
        return asked

    @property
    def _head_kind(self) -> str:
        return self._asked_task.head_kind

    # ---- parameters: a head given by name has parameters too ----

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters. With `deep`, those of the head are among them, as ``head__NAME``."""
        params: dict[str, Any] = super().get_params(deep)
        if deep and isinstance(self.head, str):
            own = create_head(self.head, self._head_kind).get_params()
            params |= {f"head__{name}": value for name, value in own.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters.

        Parameters
        ----------
        **params
            ``head__NAME`` sets a parameter of the head, and ``backbone__NAME`` one of the
            extractor. Both work for a head or backbone that was given by name, too.
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
            self.head = create_head(self.head, self._head_kind)
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
        groups: Any = None,
        on_error: str = "raise",
    ) -> Self:
        """Extract features and train the head.

        Parameters
        ----------
        images
            Anything that `list_images` takes: a folder, a CSV, paths, images, arrays.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
            The targets: labels, an indicator matrix of several labels per image, or numbers.
            By default these are the labels of the folders or the CSV. If those have splits,
            the ``train`` split is used. With a ``test`` split, ``val`` is the validation part;
            without one, ``val`` is not used, so that the model can be measured on it.
        sample_weight : array-like of shape (n_samples,), optional
            Passed to the head.
        validation : (images, y) or ImageSet with labels, optional
            Images on which the head's hyper-parameters are chosen; the head is then fitted on
            both parts. A head that chooses nothing is fitted on both parts at once. Images whose
            bytes or group are among the training images too are used for training only.
        groups : array-like of shape (n_samples,), optional
            The group of each image, such as its house or patient; None for an image without
            a group. By default the ImageSet's groups. If a head holds out rows to choose its
            hyper-parameters, images of one group, or of the same bytes, stay on one side.
            Groups have no effect on a head that chooses otherwise (the ridge head leaves one
            row out), nor on any head if there are sample weights.
        on_error : {"raise", "skip"}, default="raise"
            Whether unreadable images raise an error, or are left out with their labels.

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
            self._fit(images, y, sample_weight, validation, groups, on_error)
        return self

    def fit_features(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        validation: tuple[np.ndarray, Any] | Dataset | None = None,
        groups: Sequence[Hashable] | None = None,
        ids: Sequence[bytes] | None = None,
        names: Sequence[str] | None = None,
    ) -> Self:
        """Train the head on features that were extracted before.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features), unread rows, or Dataset
            Features from this estimator's own extractor, with which it predicts later. Rows
            that lie in a store (`StoredRows`) stay there, if the head `streams`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            As for `fit`; by default the data set's own, or the labels of its images.
        sample_weight
            As for `fit`.
        validation : (ndarray, array-like) or Dataset, optional
            Features and targets that choose the head's hyper-parameters.
        groups : sequence, optional
            As for `fit`: first of the rows of `X`, then of the validation part's; by default
            the data sets' own.
        ids : sequence of bytes, optional
            Row ids in the same order, as `Extraction.ids` has them; by default the data sets'
            own. Without ids the model can't recognise its training images later.
        names : sequence of str, optional
            Names of the columns of `y`; by default those of the data set's label columns.

        Returns
        -------
        self
        """
        task = self._asked_task.name
        parts = [labelled_rows(X, y, "training", task)]
        if isinstance(validation, Dataset):
            parts.append(labelled_rows(validation, None, "validation", task))
        elif validation is not None:
            parts.append(labelled_rows(*validation, "validation", task))
        if names is None and isinstance(X, Dataset):
            names = column_names(X.images, parts[0].targets, is_own=y is None)
        train, *others = with_ids(parts, ids, groups)
        with self._as_before_on_error():
            self.extractor_ = self._extractor()
            self.failures_: list[Failure] = []
            weight = checked_weights(sample_weight, len(train))
            self._fit_rows(train, others[0] if others else None, weight, names)
        return self

    @contextlib.contextmanager
    def _as_before_on_error(self) -> Iterator[None]:
        """Restore the state before a fit that failed, so that a trained model stays usable."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _fit(
        self, images: Any, y: Any, sample_weight: Any, validation: Any, groups: Any, on_error: str
    ) -> None:
        is_own = y is None
        task = self._asked_task.name
        train, y, held = training_parts(with_groups(images, groups), y, validation, task)
        self.extractor_ = self._extractor()
        create_head(self.head, self._head_kind)  # says now what is wrong with its name
        weight = checked_weights(sample_weight, len(y))
        self.failures_ = []
        rows, kept = self._extracted(train, y, on_error)
        if weight is not None:
            weight = weight[kept]
        held_rows = None if held is None else self._extracted(*held, on_error)[0]
        self._fit_rows(rows, held_rows, weight, column_names(train, y, is_own=is_own))

    def _extracted(self, images: Any, y: np.ndarray, on_error: str) -> tuple[Dataset, np.ndarray]:
        """Extract the readable images; return their rows and their positions."""
        X, kept, ids, failures = self._rows(images, on_error, is_training=True)
        self.failures_ = self.failures_ + failures
        groups = getattr(images, "groups", None)
        own = None if groups is None else tuple(groups[i] for i in kept)
        return Dataset(ids=tuple(ids), X=X, y=y[kept], groups=own), kept

    def _fit_rows(
        self,
        train: Dataset,
        held: Dataset | None,
        weight: np.ndarray | None,
        names: Sequence[str] | None,
    ) -> None:
        """Fit the head on `train`, and choose its hyper-parameters on `held`."""
        self.head_ = create_head(self.head, self._head_kind)
        n = len(train)
        if held is not None:
            train, held = kept_apart(train, held)
            if weight is not None:
                weight = np.concatenate([weight, np.ones(len(train) - n)])
        train = as_the_head_reads(self.head_, train)
        held = None if held is None else as_the_head_reads(self.head_, held)
        parts = [train] if held is None else [train, held]
        ids = [row for part in parts for row in part.ids or ()]
        codes = self._learn(np.concatenate([part.targets for part in parts]), names)
        train = train.with_targets(codes[: len(train)])
        if held is not None:
            held = held.with_targets(codes[len(train) :])
        else:
            is_classes = self.task_.has_one_class
            at = own_hold_out(self.head_, train, codes, weight, is_classes=is_classes)
            if at is not None:
                train, held = train.select(at[0]), train.select(at[1])
        self._fit_head(train, held, weight)
        self._keep_ids(ids)
        # Further facts for the card of a saved model, such as its metrics.
        self.facts_: dict[str, Any] = {}

    def _learn(self, y: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
        """Set the task and the outputs' names; return the targets as the head takes them."""
        self.task_: Task = self._asked_task.of_targets(y)
        return self._learn_targets(y, names)

    def _keep_ids(self, ids: Sequence[bytes]) -> None:
        self.train_ids_ = np.frombuffer(b"".join(ids), np.uint8).reshape(len(ids), ID_BYTES)

    @abc.abstractmethod
    def _learn_targets(self, y: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
        """Set the names of the outputs; return the targets as the head takes them."""

    def _fit_head(self, train: Dataset, held: Dataset | None, weight: np.ndarray | None) -> None:
        options: dict[str, Any] = {} if weight is None else {"sample_weight": weight}
        if held is None:
            self.head_.fit(train.X, train.y, **options)
        elif takes_validation(self.head_):
            self.head_.fit(train.X, train.y, validation=(held.X, held.y), **options)
        else:
            if weight is not None:
                options["sample_weight"] = np.concatenate([weight, np.ones(len(held))])
            both = train.joined(held)
            self.head_.fit(both.X, both.y, **options)

    def _given_options(self, *names: str) -> dict[str, Any]:
        """Those of the extractor's options that were given here."""
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _extractor(self) -> FeatureExtractor:
        options = self._given_options("features", "store", "device", "batch_size")
        if not isinstance(self.backbone, FeatureExtractor):
            return FeatureExtractor(self.backbone, **options)
        extractor = clone(self.backbone).set_params(**options)
        assert isinstance(extractor, FeatureExtractor)
        return extractor

    def _rows(
        self, images: Any, on_error: str = "raise", *, is_training: bool = False
    ) -> tuple[Any, np.ndarray, list[bytes], list[Failure]]:
        """Extract features; return them with the images' positions, ids, and the failures."""
        check_vectors(self.extractor_.feature_names)
        if is_training and self.extractor_.reduce == "concat":
            self.extractor_.fit(images)
        extraction = self.extractor_.extract(
            images, on_error=on_error, keep_rows="fitting", remember=is_training
        )
        X = side_by_side(extraction, memory=memory_for_features())
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
            Predictions in the same form as the training targets.

        Raises
        ------
        UnreadableImages
            If images can't be read; every one is named.
        """
        check_is_fitted(self)
        return self.predict_features(self._rows(images)[0])

    def _with_truth(self, images: Any, y: Any) -> tuple[Any, Any]:
        """Images and what they are; by default the labels of the folders or the CSV."""
        if y is not None:
            return images, y
        listed = list_images(images)
        return listed, targets_of(listed, None, "given", self._asked_task.name)

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
            Folder of the model. It is written whole or not at all.
        overwrite : bool, default=False
            Whether to replace a model that is there.
        include_weights : bool, optional
            Whether the backbone's weights are copied into the folder. By default they are if
            they came from a local file, and aren't if they came from the hub.

        Returns
        -------
        Path
            The folder.
        """
        check_is_fitted(self)
        model = artifacts.Model(
            task=self.task_.name,
            backbone=self.extractor_.resolve(),
            features=tuple(self.extractor_.feature_names),
            precision=self.extractor_.precision,
            storage=self.extractor_.storage,
            reduce=self.extractor_.reduce,
            n_images=getattr(self.extractor_, "n_images_", 1),
            classes=self.output_names_,
            head=self.head_,
            train_ids=self.train_ids_,
            facts=self.facts_,
        )
        return artifacts.save(path, model, overwrite=overwrite, include_weights=include_weights)

    @property
    @abc.abstractmethod
    def output_names_(self) -> np.ndarray:
        """Names of the classes, the labels or the targets, in the order of the outputs."""

    @abc.abstractmethod
    def _restore(self, model: artifacts.Model) -> None:
        """Set everything that `_learn` sets, except for the task."""

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
        """Load a saved model. Nothing in its folder can run code.

        Parameters
        ----------
        path : path
            The folder that `save` wrote.
        store, device, engine, batch_size, progress
            As for `FeatureExtractor`.

        Raises
        ------
        ValueError
            If it isn't a model, is damaged, or its backbone's weights have changed since.
        """
        model = artifacts.load(path)
        if model.task in dense.names():
            raise ValueError(
                f"model {str(path)!r} was trained for {model.task}; load it with "
                f"{dense.dense_task_of(model.task).estimator}.load"
            )
        task, own = task_of(model.task), task_of(cls.default_task)
        if task.has_classes != own.has_classes:
            raise ValueError(
                f"model {str(path)!r} was trained for {task.name}; load it with "
                f"{task.estimator}.load"
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
        if asked_name(task) != own.name:
            estimator.task = asked_name(task)
        estimator.task_ = task
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
