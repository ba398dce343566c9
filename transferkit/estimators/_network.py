"""Base class of the estimators of dense tasks that train a neck and a head as a network."""

from __future__ import annotations

import abc
import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from transferkit import artifacts
from transferkit.annotations import (
    AnnotationSet,
    FaultyAnnotations,
    annotation_faults,
    read_annotations,
)
from transferkit.datasets import Division, keep_apart
from transferkit.dense.fitting import LoopOf, fit_network
from transferkit.dense.network import DenseNetwork
from transferkit.dense.recipe import DenseRecipe, choose_recipe
from transferkit.dense.samples import DenseSamples
from transferkit.estimators._dense import DenseEstimator
from transferkit.estimators._maps import Maps, Usable
from transferkit.estimators.extractor import FeatureExtractor
from transferkit.extract import View
from transferkit.images import ImageSet, joined
from transferkit.training import CHECKPOINT, warn_of_checkpoint

__all__ = ["NetworkEstimator"]


class NetworkEstimator(DenseEstimator):
    """Base class: neck and head are one network, and it is trained on stored maps.

    Tasks differ in the recipe, the samples, the loop, and what they make of the outputs.
    """

    network_kind: ClassVar[type[DenseNetwork]]
    recipe_kind: ClassVar[type[DenseRecipe]]

    neck: str | None
    head_options: Mapping[str, Any] | None
    neck_options: Mapping[str, Any] | None
    recipe: Mapping[str, Any] | None
    folder: str | Path | None

    network_: Any
    recipe_: Any
    history_: list[dict[str, float]]

    # ---- fit ----

    def fit(
        self,
        images: Any,
        annotations: Any = None,
        *,
        validation: tuple[Any, Any] | None = None,
        on_error: str = "raise",
        resume: bool = False,
    ) -> Self:
        """Extract maps and train neck and head.

        Parameters
        ----------
        images
            Anything that `list_images` takes. If they have splits, ``train`` is trained on and,
            where there is a ``test`` split too, ``val`` chooses the best epoch.
        annotations
            Anything that `read_annotations` takes: the folder or file of a format, an
            `AnnotationSet`, or the annotations of each image. By default they are looked for
            beside the images.
        validation : (images, annotations), optional
            What the best epoch is chosen by; those of the training images' bytes are left out.
        on_error : {"raise", "skip"}, default="raise"
            Whether unreadable images and bad annotations raise an error, all of them by name, or
            are left out and kept in ``failures_``.
        resume : bool, default=False
            Whether to go on from the checkpoint in `folder`.

        Returns
        -------
        self

        Raises
        ------
        UnreadableImages, FaultyAnnotations
            If `on_error` is ``"raise"``; every one is named.
        ValueError
            If there are no annotations, or a parameter isn't allowed.
        """
        listed = self._listed(images)
        found = self._read(annotations, listed)
        held_from = None
        if validation is not None:
            held_from = len(listed)
            held = self._listed(validation[0])
            given = self._read(validation[1], held, found.classes)
            listed, found = joined(listed, held), found.joined(given)
        with self._as_before_on_error():
            with self.processes().first_alone():
                usable = self.usable(listed, found, on_error)
            self.fit_parts(usable, self._division(usable, held_from), resume=resume)
            self.failures_, self.remarks_ = usable.failures, usable.remarks
        return self

    def _read(
        self, annotations: Any, images: ImageSet, classes: Sequence[str] | None = None
    ) -> AnnotationSet:
        return read_annotations(annotations, images, classes=classes, needs=self._needs)

    def _division(self, usable: Usable, held_from: int | None) -> Division:
        """All images are trained on, but for the splits and the validation part."""
        if held_from is None:
            return self.divided(usable, 0)
        n_train = held_from - sum(f.index < held_from for f in usable.failures)
        at = np.arange(len(usable.images))
        held, left_out = keep_apart(at[:n_train], at[n_train:], usable.ids)
        return Division(at[:n_train], held, at[:0], left_out=left_out)

    def fit_parts(self, usable: Usable, parts: Division, *, resume: bool = False) -> Self:
        """Train on one part of some images, and choose the best epoch on another.

        Parameters
        ----------
        usable : Usable
            From `usable`, with annotations.
        parts : Division
            Positions of both among them.
        resume : bool, default=False
            Whether to go on from the checkpoint in `folder`.
        """
        with contextlib.ExitStack() as stack:
            folder = Path(self.folder or stack.enter_context(tempfile.TemporaryDirectory()))
            folder.mkdir(parents=True, exist_ok=True)
            if not resume:
                warn_of_checkpoint(folder)
            self._train_head(usable, parts, folder, resume=resume)
            (folder / CHECKPOINT).unlink(missing_ok=True)
        return self

    def _train_head(
        self, usable: Usable, parts: Division, folder: Path, *, resume: bool = False
    ) -> None:
        """Train neck and head on stored maps; the checkpoint stays in the folder."""
        assert usable.annotations is not None
        self.classes_ = usable.annotations.classes
        self.failures_, self.facts_ = usable.failures, {}
        n_rows = self._n_rows(usable.images.select(parts.train))
        recipe = choose_recipe(self.recipe_kind, self._head_settings(), n_rows)
        processes, held = self.processes(), None
        with processes.first_alone():  # the others find its maps in the store
            train = self._samples(*usable.select(parts.train), recipe=recipe)
            if len(parts.validation):
                held = self._samples(*usable.select(parts.validation), recipe=None)
        network = self._new_network(recipe.seed, train)
        trained = [usable.ids[i] for i in parts.train]
        self._keep_ids(trained)
        self.history_ = fit_network(
            self._loop(train),
            network,
            train,
            held,
            recipe,
            processes,
            folder,
            keys=[self.extractor_.resolve().to_json(), *(row.hex() for row in trained)],
            resume=resume,
            draws=self.folder is not None,
            progress=self.extractor_.progress,
        )
        self.recipe_ = recipe
        self.network_ = network.cpu().eval()
        self._settle(held)

    def _head_settings(self) -> Mapping[str, Any]:
        """What the user sets of the recipe of neck and head."""
        return self.recipe or {}

    @property
    def _head_name(self) -> str:
        """Name of the head: the task's default if the user names none."""
        return self.task_.default_head if self.head is None else self.head

    @abc.abstractmethod
    def _default_neck(self) -> str:
        """Name of the neck that the head has if the user names none."""

    @abc.abstractmethod
    def _views_of(self, extractor: FeatureExtractor, recipe: Any) -> list[View]:
        """The changed views of training images that are trained on, beside the images."""

    def _views(self, extractor: FeatureExtractor) -> list[View | None]:
        recipe = choose_recipe(self.recipe_kind, self._head_settings(), 1)
        return [None, *self._views_of(extractor, recipe)]

    def _samples(
        self, images: ImageSet, annotations: AnnotationSet | None, *, recipe: Any
    ) -> DenseSamples:
        """Maps of the images with their targets, and of the views that a recipe trains on."""
        assert annotations is not None
        views: list[View] = []
        if recipe is not None:
            views = self._views_of(self.extractor_, recipe)
        found = [self.maps(images, is_training=True, view=view) for view in (None, *views)]
        return self._samples_of(found, annotations)

    @abc.abstractmethod
    def _samples_of(self, views: Sequence[Maps], annotations: AnnotationSet) -> DenseSamples:
        """Samples of the maps of some views, the plain one first, with their targets."""

    @abc.abstractmethod
    def _loop(self, train: Any) -> LoopOf:
        """What makes the training loop of the task."""

    def _settle(self, held: DenseSamples | None) -> None:
        """Choose, on held-out samples, what isn't learnt with gradients."""

    def _new_network(self, seed: int, train: Any) -> DenseNetwork:
        """Neck and head with random weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.network_kind(
                self._levels(self.extractor_),
                len(self.classes_),
                head=self._head_name,
                neck=self._default_neck() if self.neck is None else self.neck,
                head_options=self._suited_head_options(train),
                neck_options=self.neck_options,
            )

    def _suited_head_options(self, train: Any) -> Mapping[str, Any] | None:
        """Options of the head, as the user gives them or as they suit the training images."""
        return self.head_options

    def description(self) -> str:
        """What was trained, in a few words."""
        names = self.network_.arguments
        neck = "" if names["neck"] == "none" else f" on neck {names['neck']}"
        n_parameters = sum(p.numel() for p in self.network_.parameters())
        tiles = "" if self.tiling_ is None else f" on tiles {self.tiling_}"
        return f"{names['head']}{neck}{tiles} ({n_parameters:,} parameters)"

    # ---- measure ----

    def measure(self, images: Any, annotations: Any = None, *, on_error: str = "raise") -> Any:
        """Compare predictions with the truth, in the images' px.

        Parameters
        ----------
        images, annotations, on_error
            As for `fit`. Classes are matched by name.

        Raises
        ------
        ValueError
            If no image has annotations.
        """
        return self.report_of(self.counted(images, annotations, on_error=on_error))

    def counted(self, images: Any, annotations: Any = None, *, on_error: str = "raise") -> Any:
        """Count what is right and wrong, of one image after the other; see `report_of`.

        Parameters
        ----------
        images, annotations, on_error
            As for `measure`.

        Returns
        -------
        PixelCounts or DetectionCounts
            All that the report is made of, and what it is of each image.
        """
        listed = self._listed(images)
        found = self._read(annotations, listed, self.classes_)
        faults = annotation_faults(found, listed, needs=self._needs)
        if faults and (on_error == "raise" or len(faults) == len(listed)):
            raise FaultyAnnotations(faults, len(listed))
        bad = {fault.index for fault in faults}
        good = [i for i in range(len(listed)) if i not in bad]
        maps = self.maps(listed.select(good), on_error)
        true = found.select(np.array(good)[maps.extraction.kept])
        return self._counted(true, (annotations for _, annotations in self.predictions(maps)))

    @abc.abstractmethod
    def _counted(self, true: Any, predicted: Any) -> Any:
        """Compare annotations of images with the true ones, image by image."""

    @abc.abstractmethod
    def report_of(self, counts: Any) -> Any:
        """Make the report of what was counted.

        Parameters
        ----------
        counts
            From `counted`.
        """

    # ---- files ----

    def _head_to_save(self) -> artifacts.ModuleHead:
        tensors = {n: t.detach().cpu().numpy() for n, t in self.network_.state_dict().items()}
        arguments = self.network_.arguments
        return artifacts.ModuleHead(arguments["head"], arguments, tensors)

    def _restore(self, head: artifacts.ModuleHead) -> None:
        network = self.network_kind.restored(head.arguments, head.tensors)
        if network.arguments["n_classes"] != len(self.classes_):
            raise ValueError("it has another number of classes")
        self.network_ = network
        for name in ("head", "neck", "head_options", "neck_options"):
            setattr(self, name, head.arguments[name])
