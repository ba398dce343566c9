"""`FineTuneSegmenter` trains the backbone too, and not only neck and head."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from transferkit.backbones import Backbone
from transferkit.datasets import Division, blocks_of, hold_out
from transferkit.dense.samples import class_maps
from transferkit.estimators._dense import Usable
from transferkit.estimators.extractor import FeatureExtractor
from transferkit.estimators.segmenter import TransferSegmenter
from transferkit.finetune.dense.recipe import LiveRecipe, choose_live_recipe, dense_strategy
from transferkit.finetune.dense.run import SegmentationTuning, announce
from transferkit.finetune.dense.samples import MaskedPixels
from transferkit.finetune.recipe import Strategy
from transferkit.folders import cache_folder
from transferkit.forward import choose_device
from transferkit.images import ImageSet
from transferkit.spec import BackboneSpec, canonical_json
from transferkit.store import FeatureStore
from transferkit.training import CHECKPOINT, Processes, warn_of_checkpoint

__all__ = ["FineTuneSegmenter"]

# Settings that the head's own training on stored maps shares with what follows.
_SHARED = ("loss", "class_weights", "label_smoothing", "mirrored", "seed")


class FineTuneSegmenter(TransferSegmenter):
    """Segment images with a backbone that is trained together with neck and head.

    First neck and head are trained on the frozen backbone's stored maps, as `TransferSegmenter`
    does it. Then the whole network is trained on pixels. The result is a model like any other:
    a backbone with weights of its own, a neck and a head.

    Parameters
    ----------
    backbone, head, neck, features, image_size, head_options, neck_options
        As for `TransferSegmenter`. With `init` the backbone may be left out, and a start that
        fits brings its own head and neck.
    strategy : str, default="lp-ft"
        What is trained of the backbone: ``lp-ft`` and ``full`` all of it, the latter with a
        fresh head; ``norm-only``, ``bias-only``, ``lora``.
    recipe : mapping, optional
        Settings of `transferkit.finetune.dense.LiveRecipe` that differ from its defaults. Loss,
        class weights, label smoothing, mirrored images and the seed are the head's too when it
        is trained first; for the rest that is `TransferSegmenter`'s default.
    init : path, optional
        A saved segmenter to start from. Its neck and head are the start if its classes are
        those of the annotations; else they are trained anew, on its backbone's maps.
    folder : path, optional
        For the checkpoints, the curves and the tuned weights; by default one in the user's
        cache directory.
    store, device, batch_size, progress
        As for `FeatureExtractor`.
    tensorboard : bool, default=False
        Whether TensorBoard's files are written too.

    Attributes
    ----------
    recipe_ : LiveRecipe
        All settings of the training of the whole network.
    history_ : list of dict
        One line for each of its epochs, the start first: losses, and the held-out mean IoU.
    best_epoch_ : int
        The epoch whose weights were kept; 0 is the head on the frozen backbone.
    folder_ : Path
        Where the curves and the tuned weights are.
    classes_, network_, extractor_, failures_, train_ids_
        As for `TransferSegmenter`; the extractor's backbone is the tuned one.

    See Also
    --------
    TransferSegmenter : Trains neck and head only.

    References
    ----------
    Kumar, Raghunathan, Jones, Ma, Liang (2022), "Fine-tuning can distort pretrained features
    and underperform out-of-distribution": the head first, then everything.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.zeros((6, 64, 64, 3), dtype=np.uint8)
    >>> images[:, :, 32:] = 255  # the right half is white
    >>> maps = [(image[:, :, 0] > 0).astype(int) for image in images]
    >>> extractor = FeatureExtractor(
    ...     "test_resnet", pretrained=False, image_size=64, crop_pct=1.0, store=False
    ... )
    >>> recipe = {"epochs": 5, "learning_rate": 0.01}
    >>> model = FineTuneSegmenter(extractor, head="linear", recipe=recipe)
    >>> model.fit(images, maps).predict(images)[0].map[0, [0, 63]].tolist()
    [0, 1]
    """

    def __init__(
        self,
        backbone: str | Backbone | BackboneSpec | FeatureExtractor | None = None,
        strategy: str = "lp-ft",
        *,
        head: str = "unet",
        neck: str | None = None,
        features: str | Sequence[str] | None = None,
        image_size: int | tuple[int, int] | None = None,
        head_options: Mapping[str, Any] | None = None,
        neck_options: Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
        init: str | Path | None = None,
        folder: str | Path | None = None,
        store: FeatureStore | str | Path | bool | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        tensorboard: bool = False,
        progress: bool = False,
    ) -> None:
        self.backbone: Any = backbone
        self.strategy = strategy
        self.head = head
        self.neck = neck
        self.features = features
        self.image_size = image_size
        self.head_options = head_options
        self.neck_options = neck_options
        self.recipe = recipe
        self.init = init
        self.folder = folder
        self.store = store
        self.device = device
        self.batch_size = batch_size
        self.tensorboard = tensorboard
        self.progress = progress

    # ---- fit ----

    def usable(self, images: ImageSet, annotations: Any, on_error: str = "raise") -> Usable:
        """Find the images that can be read and whose annotations are good, and extract their maps.

        Parameters
        ----------
        images, annotations, on_error
            As for `TransferSegmenter.usable`.
        """
        # Says now, before anything is computed, what is wrong with a setting.
        choose_live_recipe(self.recipe or {}, dense_strategy(self.strategy), len(images))
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
        strategy = dense_strategy(self.strategy)
        recipe = choose_live_recipe(self.recipe or {}, strategy, len(parts.train))
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
        has_start = self._start(usable, parts, folder, strategy, recipe, resume, is_live)
        self._tune(usable, parts, folder, strategy, recipe, keys, has_start, is_live)
        for place in (folder, folder / "head"):
            (place / CHECKPOINT).unlink(missing_ok=True)
        return self

    def _start(
        self,
        usable: Usable,
        parts: Division,
        folder: Path,
        strategy: Strategy,
        recipe: LiveRecipe,
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
        if is_live or not strategy.starts_from_probe:
            # A checkpoint holds the head that it began with and has become.
            self.network_ = self._new_network(recipe.seed, None)
            return strategy.starts_from_probe
        head_folder = folder / "head"
        head_folder.mkdir(parents=True, exist_ok=True)
        self._train_head(usable, parts, head_folder, resume=resume)
        return True

    def _tune(
        self,
        usable: Usable,
        parts: Division,
        folder: Path,
        strategy: Strategy,
        recipe: LiveRecipe,
        keys: Sequence[str],
        has_start: bool,
        resume: bool,
    ) -> None:
        tuned = SegmentationTuning(
            self.extractor_.resolve(),
            self.extractor_.feature_names,
            self.network_,
            strategy,
            recipe,
            self.processes(),
            folder,
            keeps_start=has_start,
            keys=keys,
            tensorboard=self.tensorboard,
            progress=self.extractor_.progress,
        ).finish(
            self._pixels(usable, parts.train, recipe),
            self._pixels(usable, parts.validation, recipe) if len(parts.validation) else None,
            resume=resume,
        )
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

    def _pixels(self, usable: Usable, at: Any, recipe: LiveRecipe) -> MaskedPixels:
        """Decoded images with their classes, for training or evaluation."""
        images, annotations = usable.select(at)
        assert annotations is not None
        frames = self.maps(images, is_training=True).frames
        targets = class_maps(annotations, frames, self.input_size_)
        return MaskedPixels(images, targets, self.extractor_.resolve().preprocess, recipe)

    def _head_settings(self) -> Mapping[str, Any]:
        return {name: value for name, value in (self.recipe or {}).items() if name in _SHARED}

    def processes(self) -> Processes:
        """Device of this process, and the other processes that share the training."""
        device = self.device or getattr(self.backbone, "device", None) or "auto"
        return Processes(choose_device(str(device).partition(",")[0]))

    # ---- what it starts from ----

    _initial: TransferSegmenter | None

    def _extractor(self, images: ImageSet) -> FeatureExtractor:
        initial = None if self.init is None else TransferSegmenter.load(self.init)
        self._initial = initial
        if initial is None:
            if self.backbone is None:
                raise ValueError("backbone is None; give a backbone, or init, a saved segmenter")
            return super()._extractor(images)
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

    def _keys(self, usable: Usable, parts: Division, recipe: LiveRecipe) -> list[str]:
        """What decides a run's result, apart from the masks."""
        start = None if self._initial is None else self._initial._head_to_save()
        digest = hashlib.sha256()
        for name, value in {} if start is None else sorted(start.tensors.items()):
            digest.update(name.encode() + value.tobytes())
        return [
            self.extractor_.resolve().to_json(),
            canonical_json(
                [self.strategy, asdict(recipe), self.head, self.neck, self.extractor_.feature_names,
                 dict(self.head_options or {}), dict(self.neck_options or {})]
            ),
            digest.hexdigest(),
            *(usable.ids[i].hex() for part in (parts.train, parts.validation) for i in part),
        ]  # fmt: skip

    def _folder(self, keys: Sequence[str]) -> Path:
        name = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]
        folder = Path(self.folder) if self.folder else cache_folder() / "finetuned" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _with_validation(usable: Usable, parts: Division, recipe: LiveRecipe) -> Division:
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
