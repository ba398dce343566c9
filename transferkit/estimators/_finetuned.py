"""Base class of the estimators that train the backbone together with a head."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from transferkit import artifacts
from transferkit.backbones import Backbone
from transferkit.datasets import Dataset
from transferkit.estimators._base import TransferEstimator
from transferkit.estimators.classifier import TransferClassifier
from transferkit.estimators.extractor import FeatureExtractor
from transferkit.estimators.regressor import TransferRegressor
from transferkit.estimators.targets import column_names, training_parts, with_groups
from transferkit.finetune import Recipe, choose_recipe, parse_strategy
from transferkit.heads import create_head
from transferkit.images import Failure, ImageSet, list_images
from transferkit.spec import BackboneSpec
from transferkit.store import FeatureStore

__all__ = ["FineTuneEstimator"]


class FineTuneEstimator(TransferEstimator):
    """Base class: a backbone and a linear head are trained together."""

    head: Any = "linear"

    def __init__(
        self,
        backbone: str | Backbone | BackboneSpec | FeatureExtractor | None = None,
        strategy: str = "lp-ft",
        *,
        recipe: Mapping[str, Any] | None = None,
        init: str | Path | None = None,
        folder: str | Path | None = None,
        store: FeatureStore | str | Path | bool | None = None,
        device: str | None = None,
        tensorboard: bool = False,
        progress: bool = False,
    ) -> None:
        self.backbone: Any = backbone
        self.strategy = strategy
        self.recipe = recipe
        self.init = init
        self.folder = folder
        self.store = store
        self.device = device
        self.tensorboard = tensorboard
        self.progress = progress

    # ---- parameters: the recipe's settings are parameters too ----

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters. With `deep`, the recipe's settings too, as ``recipe__NAME``."""
        params: dict[str, Any] = BaseEstimator.get_params(self, deep)
        if deep:
            params |= {f"recipe__{name}": value for name, value in (self.recipe or {}).items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``recipe__NAME`` sets one of the recipe's."""
        if "recipe" in params:
            self.recipe = params.pop("recipe")
        for name in [n for n in params if n.startswith("recipe__")]:
            settings = {**(self.recipe or {}), name.removeprefix("recipe__"): params.pop(name)}
            self.recipe = settings
        BaseEstimator.set_params(self, **params)
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
        resume: bool = False,
    ) -> Self:
        """Train a head on frozen features, then the network with it.

        Parameters
        ----------
        images
            Anything that `list_images` takes: a folder, a CSV, paths, images, arrays.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
            Labels, an indicator matrix of several labels per image, or numbers; by default
            the labels of the folders or the CSV, whose ``train`` split is used if it has
            splits. Its ``val`` split is the validation part where there is a ``test`` split
            too; without one it is left to measure the model with.
        sample_weight : None
            Not supported. Fine-tuning can weigh classes (``class_weight`` of the recipe).
        validation : (images, y) or ImageSet with labels, optional
            Images that choose the best epoch; by default a part of the training images. Those
            whose bytes or whose group are among the training images are left out.
        groups : array-like of shape (n_samples,), optional
            As for `TransferClassifier.fit`.
        on_error : {"raise", "skip"}, default="raise"
            Whether unreadable images raise, or are left out with their labels.
        resume : bool, default=False
            Whether to go on from the checkpoint of the same run, which was interrupted.

        Returns
        -------
        self

        Raises
        ------
        UnreadableImages
            If images can't be read and `on_error` is ``"raise"``; every one is named.
        ValueError
            If a name or a setting doesn't exist, or there are no labels.
        TrainingStopped
            If the loss is no number any more, or the disk is full.
        """
        if sample_weight is not None:
            raise ValueError(
                "sample_weight was given, and fine-tuning weighs no single images; leave it out, "
                "or weigh classes with recipe={'class_weight': …}"
            )
        with self._as_before_on_error():
            self._fit_network(images, y, validation, groups, on_error, resume)
        return self

    def fit_features(self, X: Any, y: Any = None, **options: Any) -> Self:
        """Raise a TypeError, because fine-tuning learns from images and not from features."""
        raise TypeError(
            "fine-tuning trains a network on images, not a head on features; call fit with images, "
            "or take TransferClassifier or TransferRegressor"
        )

    def _fit_network(
        self, images: Any, y: Any, validation: Any, groups: Any, on_error: str, resume: bool
    ) -> None:
        from transferkit.finetune.validation import chosen_by
        from transferkit.forward import choose_device
        from transferkit.training import Processes

        strategy = parse_strategy(self.strategy)
        choose_recipe(self.recipe or {}, strategy, 1)  # says now what is wrong with a setting
        is_own, task = y is None, self._asked_task.name
        images, y, held = training_parts(with_groups(images, groups), y, validation, task)
        self.extractor_ = self._tuned_extractor()
        processes = Processes(choose_device(self.extractor_.device))
        self.extractor_.device = str(processes.device)
        self.head_ = create_head("linear", self._head_kind)
        parts: list[Dataset] = []
        self.failures_: list[Failure] = []
        for given, targets in ((images, y), *([held] if held else [])):
            part = _one_image_each(list_images(given))
            with processes.first_alone():
                extraction = self.extractor_.extract(part, on_error=on_error, remember=True)
            self.failures_ += extraction.failures
            readable = part.select(extraction.kept)
            (X,) = extraction.rows.values()
            parts.append(Dataset(readable, extraction.ids, X, targets[extraction.kept]))
        if len(parts) > 1:
            parts = chosen_by(parts[0], parts[1], task)
        all_y = np.concatenate([part.targets for part in parts])
        codes = self._learn(all_y, column_names(images, all_y, is_own=is_own))
        edges = np.cumsum([len(part) for part in parts])[:-1]
        parts = [
            part.with_targets(own) for part, own in zip(parts, np.split(codes, edges), strict=True)
        ]
        self._keep_ids([row for part in parts for row in part.ids or ()])
        self._tune(parts, strategy, processes, resume)

    def _tune(self, parts: list[Any], strategy: Any, processes: Any, resume: bool) -> None:
        from transferkit.finetune.run import fine_tune

        spec = self.extractor_.resolve()
        tuned = fine_tune(
            parts[0],
            parts[1] if len(parts) > 1 else None,
            spec,
            strategy,
            self.recipe or {},
            task=self.task_.name,
            classes=self.output_names_,
            store=self.extractor_.store_for(parts[0].images, remember=True),
            processes=processes,
            folder=None if self.folder is None else Path(self.folder),
            start=self._head_of_init(),
            precision=self.extractor_.precision,
            tensorboard=self.tensorboard,
            progress=self.progress,
            resume=resume,
        )
        self.head_ = tuned.head
        self.recipe_: Recipe = tuned.recipe
        self.history_ = tuned.history
        self.best_epoch_ = tuned.best_epoch
        self.folder_ = tuned.folder
        settings = dataclasses.asdict(tuned.recipe)
        self.facts_ = {"recipe": {"strategy": self.strategy, **settings}}
        self.extractor_ = FeatureExtractor(
            tuned.backbone,
            store=self.extractor_.store,
            device=self.extractor_.device,
            precision=self.extractor_.precision,
            storage=self.extractor_.storage,
            batch_size=self.extractor_.batch_size,
            progress=self.extractor_.progress,
        )

    def _tuned_extractor(self) -> FeatureExtractor:
        if self.backbone is None and self.init is None:
            raise ValueError("backbone is None; give a backbone, or init, a saved model")
        backbone: Any = self.backbone
        if self.init is not None:
            spec = artifacts.load(self.init).backbone
            if backbone is not None:
                is_extractor = isinstance(backbone, FeatureExtractor)
                own = (backbone if is_extractor else FeatureExtractor(backbone)).resolve()
                if own.architecture != spec.architecture:
                    raise ValueError(
                        f"init {str(self.init)!r} is a {spec.architecture}, and backbone a "
                        f"{own.architecture}; leave one of them out"
                    )
            backbone = spec
        options = self._given_options("store", "device")
        if not isinstance(backbone, FeatureExtractor):
            return FeatureExtractor(backbone, progress=self.progress, **options)
        if backbone.feature_names != ["pre_logits"]:
            raise ValueError(
                f"features are {', '.join(backbone.feature_names)}; fine-tuning trains a head on "
                f"'pre_logits', what the network's own classifier sees: leave features out"
            )
        return FeatureExtractor(**{**backbone.get_params(deep=False), **options})

    def _head_of_init(self) -> Any:
        """Head of the `init` model, if it is linear and has the same features and labels."""
        if self.init is None:
            return None
        model = artifacts.load(self.init)
        fits = (
            model.features == ("pre_logits",)
            and model.classes.tolist() == self.output_names_.tolist()
            and model.task == self.task_.name
            and hasattr(model.head, "coef_")
        )
        return model.head if fits else None

    # ---- files ----

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> Self:
        """Load a saved model. Nothing in its folder can run code.

        Parameters
        ----------
        path : path
            The folder that `save` wrote.
        **options
            As for `TransferClassifier.load`.
        """
        kind = TransferClassifier if issubclass(cls, TransferClassifier) else TransferRegressor
        loaded = kind.load(path, **options)
        estimator = cls(loaded.extractor_)
        for name, value in vars(loaded).items():
            if name.endswith("_"):
                setattr(estimator, name, value)
        return estimator


def _one_image_each(images: ImageSet) -> ImageSet:
    """Check that every item is a single image, and return the images."""
    several = np.flatnonzero(images.n_images > 1)
    if len(several):
        raise ValueError(
            f"item {several[0]} has {images.n_images[several[0]]} images, and fine-tuning trains "
            f"on one image for each label; give each image as an item of its own, or train a head "
            f"on frozen features (TransferClassifier, TransferRegressor)"
        )
    return images
