"""Base class of the estimators of dense tasks that train the backbone too."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from transferkit.datasets import Division, blocks_of, hold_out
from transferkit.estimators._maps import Usable
from transferkit.estimators._network import NetworkEstimator
from transferkit.estimators.extractor import FeatureExtractor
from transferkit.finetune.dense.recipe import LiveSettings, choose_live_recipe, dense_strategy
from transferkit.finetune.dense.run import DenseTuning, LiveSamples, TunedNetwork, announce
from transferkit.folders import cache_folder
from transferkit.images import Frame, ImageSet
from transferkit.spec import canonical_json
from transferkit.training import CHECKPOINT, warn_of_checkpoint

__all__ = ["FineTunedNetwork"]


class FineTunedNetwork(NetworkEstimator):
    """Base class: neck and head are trained on stored maps, then the whole network on pixels.

    It stands before the estimator that trains neck and head alone among a class's bases. Tasks
    differ in the recipe and the samples.
    """

    # The estimator of neck and head alone, whose saved models are those of this one too.
    trained_as: ClassVar[type[NetworkEstimator]]
    live_kind: ClassVar[type[LiveSettings]]
    # Settings that the head's own training on stored maps shares with what follows.
    shared_settings: ClassVar[tuple[str, ...]]

    strategy: str
    init: str | Path | None
    tensorboard: bool

    best_epoch_: int
    folder_: Path

    # ---- fit ----

    def usable(self, images: ImageSet, annotations: Any, on_error: str = "raise") -> Usable:
        """Find the images that can be read and whose annotations are good, and extract their maps.

        Parameters
        ----------
        images, annotations, on_error
            As for `DenseEstimator.usable`.
        """
        # Says now, before anything is computed, what is wrong with a setting.
        self._live_recipe(len(images))
        return super().usable(images, annotations, on_error)

    def fit_parts(self, usable: Usable, parts: Division, *, resume: bool = False) -> Self:
        """Train neck and head on one part of some images, then the network with them.

        Parameters
        ----------
        usable : Usable
            From `usable`, with annotations.
        parts : Division
            Positions of what is trained on, and of what chooses the best epoch; if there are
            none of the latter, a share of the former is held out.
        resume : bool, default=False
            Whether to go on from the checkpoints in `folder`.
        """
        strategy, recipe = dense_strategy(self.strategy), self._live_recipe(len(parts.train))
        parts = _with_validation(usable, parts, recipe)
        keys = self._keys(usable, parts, recipe)
        folder = self._folder(keys)
        announce(
            self.extractor_.resolve(), strategy, recipe, len(parts.train), len(parts.validation)
        )
        is_live = resume and (folder / CHECKPOINT).is_file()
        if not resume:
            warn_of_checkpoint(folder)
            (folder / CHECKPOINT).unlink(missing_ok=True)
        train = self._pixels(usable, parts.train, recipe)
        has_start = self._start(usable, parts, folder, recipe, train, resume, is_live)
        self._tune(usable, parts, folder, recipe, keys, train, has_start, is_live)
        for place in (folder, folder / "head"):
            (place / CHECKPOINT).unlink(missing_ok=True)
        return self

    def _start(
        self,
        usable: Usable,
        parts: Division,
        folder: Path,
        recipe: Any,
        train: Any,
        resume: bool,
        is_live: bool,
    ) -> bool:
        """Make the neck and the head that are started with; return whether they are trained."""
        assert usable.annotations is not None
        self.classes_ = usable.annotations.classes
        self.failures_, self.facts_ = usable.failures, {}
        self._keep_ids([usable.ids[i] for i in parts.train])
        initial = self._initial
        if initial is not None and initial.classes_ == self.classes_:
            self.network_ = initial.network_
            return True
        starts_from_head = dense_strategy(self.strategy).starts_from_probe
        if is_live or not starts_from_head:
            # A checkpoint holds the head that it began with and has become.
            self.network_ = self._new_network(recipe.seed, train)
            return starts_from_head
        head_folder = folder / "head"
        head_folder.mkdir(parents=True, exist_ok=True)
        self._train_head(usable, parts, head_folder, resume=resume)
        return True

    def _tune(
        self,
        usable: Usable,
        parts: Division,
        folder: Path,
        recipe: Any,
        keys: Sequence[str],
        train: Any,
        has_start: bool,
        resume: bool,
    ) -> None:
        held = self._pixels(usable, parts.validation, recipe) if len(parts.validation) else None
        tuned = DenseTuning(
            self.extractor_.resolve(),
            self.extractor_.feature_names,
            self.network_,
            dense_strategy(self.strategy),
            recipe,
            self.processes(),
            folder,
            keeps_start=has_start,
            keys=keys,
            tensorboard=self.tensorboard,
            progress=self.extractor_.progress,
        ).finish(self._loop(train), train, held, resume=resume)
        self._take(tuned, held)
        self.network_, self.history_ = tuned.network, tuned.history
        self.best_epoch_, self.folder_ = tuned.best_epoch, folder
        self.recipe_ = recipe
        self.facts_ = {"recipe": {"strategy": self.strategy, **asdict(recipe)}}
        before = self.extractor_
        same = ("store", "device", "precision", "storage", "batch_size", "progress")
        self.extractor_ = FeatureExtractor(
            tuned.backbone,
            before.feature_names,
            **{name: getattr(before, name) for name in same},
        )

    def _take(self, tuned: TunedNetwork, held: Any) -> None:
        """Choose, on held-out samples, what isn't learnt with gradients."""

    def _live_recipe(self, n_images: int) -> Any:
        """Settings of the training of the whole network on so many images."""
        strategy = dense_strategy(self.strategy)
        return choose_live_recipe(self.recipe or {}, strategy, n_images, self.live_kind)

    @abc.abstractmethod
    def _pixels(self, usable: Usable, at: Any, recipe: Any) -> LiveSamples:
        """Decoded images with their targets, for training or evaluation."""

    def _frames(self, images: ImageSet) -> list[Frame]:
        """What takes the px of images to the network's."""
        return self.maps(images, is_training=True).frames

    def _head_settings(self) -> Mapping[str, Any]:
        return {
            name: value
            for name, value in (self.recipe or {}).items()
            if name in self.shared_settings
        }

    # ---- what it starts from ----

    _initial: Any

    def _extractor(self, images: ImageSet) -> FeatureExtractor:
        initial = None if self.init is None else self.trained_as.load(self.init)
        self._initial = initial
        if initial is None:
            if self.backbone is None:
                raise ValueError(
                    f"backbone is None; give a backbone, or init, a model of {self.task_name} "
                    "that was saved"
                )
            return super()._extractor(images)
        if initial.tiling_ is not None:
            raise ValueError(
                f"init {str(self.init)!r} was trained on tiles, and a whole network is trained on "
                "whole images; give a model that was trained without tiles"
            )
        extractor = initial.extractor_
        if self.backbone is not None:
            own = super()._extractor(images).resolve()
            if own.architecture != extractor.resolve().architecture:
                raise ValueError(
                    f"init {str(self.init)!r} is a {extractor.resolve().architecture}, and "
                    f"backbone a {own.architecture}; leave one of them out"
                )
        names = ("store", "device", "batch_size", "progress")
        given = {name: getattr(self.backbone, name, None) for name in names}
        given |= {n: v for n in names if (v := getattr(self, n)) not in (None, False)}
        extractor.set_params(**{n: v for n, v in given.items() if v is not None})
        return extractor

    # ---- the run ----

    def _keys(self, usable: Usable, parts: Division, recipe: Any) -> list[str]:
        """What decides a run's result, apart from the annotations."""
        start = None if self._initial is None else self._initial._head_to_save()
        digest = hashlib.sha256()
        for name, value in {} if start is None else sorted(start.tensors.items()):
            digest.update(name.encode() + value.tobytes())
        return [
            self.extractor_.resolve().to_json(),
            canonical_json(
                [self.strategy, asdict(recipe), self._head_name, self.neck,
                 self.extractor_.feature_names, dict(self.head_options or {}),
                 dict(self.neck_options or {})]
            ),
            digest.hexdigest(),
            *(usable.ids[i].hex() for part in (parts.train, parts.validation) for i in part),
        ]  # fmt: skip

    def _folder(self, keys: Sequence[str]) -> Path:
        name = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]
        folder = Path(self.folder) if self.folder else cache_folder() / "finetuned" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _with_validation(usable: Usable, parts: Division, recipe: Any) -> Division:
    """Hold a share of the training images out, where nothing else chooses the best epoch."""
    n_held = round(recipe.validation_fraction * len(parts.train))
    if len(parts.validation) or n_held < 2:
        return parts
    images = usable.images.select(parts.train)
    blocks = blocks_of([usable.ids[i] for i in parts.train], images.groups)
    try:
        kept, held = hold_out(len(parts.train), n_held, recipe.seed, blocks=blocks)
    except ValueError:  # all are of one group
        return parts
    return replace(parts, train=parts.train[kept], validation=parts.train[held])
