"""A fine-tuning run: from images, features and targets to a tuned backbone and its head.

The steps in their order: probe → network → samples → training → weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transferkit.datasets import Dataset
from transferkit.extract import extract
from transferkit.finetune.augmentation import augmented_views
from transferkit.finetune.head import fitted_head, head_weights, scaled_to_loss
from transferkit.finetune.image_head import ImageHead
from transferkit.finetune.network import BackboneWithHead, build_network, stage_below
from transferkit.finetune.objective import Objective, choose_objective
from transferkit.finetune.recipe import Recipe, Strategy, choose_recipe
from transferkit.finetune.samples import LabelledSamples, MapSamples, PixelSamples
from transferkit.finetune.training_loop import create_training_loop
from transferkit.finetune.validation import split
from transferkit.finetune.weights import resolve_tuned, whole_weights, write_backbone
from transferkit.folders import cache_folder
from transferkit.heads import create_head
from transferkit.spec import BackboneSpec, canonical_json
from transferkit.store import FeatureStore
from transferkit.training import (
    CHECKPOINT,
    Processes,
    Samples,
    native_precision,
    warn_of_checkpoint,
)

__all__ = ["FineTuneRun", "FineTuned", "fine_tune"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class FineTuned:
    """Result of a fine-tuning run.

    Parameters
    ----------
    backbone : BackboneSpec
        With the tuned weights.
    head : estimator
        The fitted linear head.
    recipe : Recipe
        As it was carried out.
    history : list of dict
        One line for each epoch; the first is the start, before any step.
    best_epoch : int
        The epoch that was kept; 0 for the start.
    seconds : float
        Wall time, probe and caching included.
    folder : Path
        Where the curves and the tuned weights are.
    """

    backbone: BackboneSpec
    head: Any
    recipe: Recipe
    history: list[dict[str, float]]
    best_epoch: int
    seconds: float
    folder: Path


def fine_tune(
    train: Dataset,
    held: Dataset | None,
    backbone: BackboneSpec,
    strategy: Strategy,
    settings: Mapping[str, Any],
    *,
    task: str,
    classes: np.ndarray,
    store: FeatureStore | None,
    processes: Processes,
    folder: Path | None,
    resume: bool = False,
    **options: Any,
) -> FineTuned:
    """Tune a backbone and fit it with a head.

    Parameters
    ----------
    train : Dataset
        What is trained on; a part of it chooses the best epoch if `held` is None.
    held : Dataset or None
        The validation part, if there is one.
    backbone, strategy, task, classes, processes
        As for `FineTuneRun`.
    settings : mapping
        Fields of `Recipe` that the user sets.
    store : FeatureStore or None
        For cached maps; None keeps none after the call.
    folder : Path or None
        None for one in the user's cache directory, named after the run.
    resume : bool, default=False
        Whether to go on from the folder's checkpoint.
    **options
        The others of `FineTuneRun`.
    """
    n_devices, precision = processes.count, native_precision(processes.device)
    recipe = choose_recipe(settings, strategy, len(train), n_devices=n_devices, precision=precision)
    if held is None and recipe.validation_fraction:
        train, held = split(train, recipe, task)
    with contextlib.ExitStack() as stack:
        if store is None:
            store = FeatureStore(stack.enter_context(tempfile.TemporaryDirectory()))
        run = FineTuneRun(
            backbone, strategy, recipe, task, classes, store, processes, Path(), **options
        )
        signature = run.signature(train, held)
        run.folder = folder or cache_folder() / "finetuned" / signature[:16]
        run.folder.mkdir(parents=True, exist_ok=True)
        if processes.is_first and not resume:
            warn_of_checkpoint(run.folder)
        logger.info(
            "%s of %s on %s images (%s held out):",
            strategy.name,
            backbone.name,
            f"{len(train):,}",
            "none" if held is None else f"{len(held):,}",
        )
        for line in recipe.table(strategy):
            logger.info("  %s", line)
        return run.finish(train, held, resume=resume)


@dataclass(eq=False)
class FineTuneRun:
    """One fine-tuning run: its arguments, and the steps that carry it out.

    Parameters
    ----------
    backbone : BackboneSpec
        The backbone that is tuned.
    strategy : Strategy
        Which of its parameters learn.
    recipe : Recipe
        How.
    task : str
        For what; a name of `transferkit.tasks`.
    classes : ndarray
        Labels that the class numbers stand for.
    store : FeatureStore
        For cached maps.
    processes : Processes
        This process's device, and the other processes of the run.
    folder : Path
        For checkpoint, curves and the tuned weights.
    start : estimator, optional
        A fitted linear head to start from, instead of a probe.
    precision, storage : str
        Of cached maps.
    tensorboard, progress : bool, default=False
        What is shown.
    """

    backbone: BackboneSpec
    strategy: Strategy
    recipe: Recipe
    task: str
    classes: np.ndarray
    store: FeatureStore
    processes: Processes
    folder: Path
    start: Any = None
    precision: str = "float32"
    storage: str = "float16"
    tensorboard: bool = False
    progress: bool = False

    def finish(self, train: Dataset, held: Dataset | None, *, resume: bool = False) -> FineTuned:
        """Train, write the tuned weights and fit them with their head.

        Parameters
        ----------
        train : Dataset
            What is trained on.
        held : Dataset or None
            What the best epoch is chosen by; None for the last.
        resume : bool, default=False
            Whether to go on from the folder's checkpoint.
        """
        began = time.monotonic()
        objective = choose_objective(self.task, train.targets, self.recipe, self.classes)
        stage = self._stage()
        network, weights = self._network(objective, stage)
        start = self._start(train, objective)
        if start is not None:
            seen = train if held is None else held
            targets = objective.encode(seen.targets)
            network.set_head(*scaled_to_loss(*start, seen.X, targets, objective))
        loop = create_training_loop(
            network,
            objective,
            self.recipe,
            self._samples(train, objective, stage, n_views=self.recipe.views),
            None if held is None else self._samples(held, objective, stage, n_views=0),
            self.processes,
            self.folder,
            strategy=self.strategy.name,
            signature=self.signature(train, held),
            deadline=began + 60 * self.recipe.minutes if self.recipe.minutes else math.inf,
            tensorboard=self.tensorboard,
            progress=self.progress,
            keeps_start=start is not None,
        )
        loop.fit(resume=resume)
        state = loop.state
        if state.best_epoch:
            backbone = self._write(network, weights)
        else:  # nothing has changed: not the weights, not their digest, not the features
            backbone = self.backbone
            self._say_no_gain(state.history)
            self._end()
        head = fitted_head(
            network.head.weight, network.head.bias, objective, flat=train.targets.ndim == 1
        )
        seconds = time.monotonic() - began
        logger.info("fine-tuned on %s images in %.1f s", f"{len(train):,}", seconds)
        recipe = replace(self.recipe, epochs=state.epochs)
        return FineTuned(
            backbone, head, recipe, state.history, state.best_epoch, seconds, self.folder
        )

    def _stage(self) -> str | None:
        if self.strategy.n_stages is None:
            return None
        from transferkit.backbones import build_backbone

        layers = build_backbone(self.backbone).layers
        return stage_below(layers, self.strategy.n_stages, self.backbone.name)

    def _network(
        self, objective: Objective, stage: str | None
    ) -> tuple[BackboneWithHead[ImageHead], dict[str, torch.Tensor]]:
        """Build the network, and return the whole body's weights as they were with it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            return build_network(
                self.backbone, self.strategy, self.recipe, objective.create_head, stage
            )

    def _start(
        self, train: Dataset, objective: Objective
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Weights and biases of the initial head; None for random ones."""
        if self.start is not None:
            return head_weights(self.start, objective)
        if not self.strategy.starts_from_probe:
            return None
        if objective.kind.has_classes:
            return head_weights(create_head("linear").fit(train.X, train.y), objective)
        # On the targets that the network learns: they are as exact in float32 as any.
        targets = objective.encode(train.targets).numpy()
        head = create_head("linear", objective.kind.head_kind).fit(train.X, targets)
        return head_weights(head, Objective(self.task, objective.n_outputs))

    def _samples(
        self, data: Dataset, objective: Objective, stage: str | None, *, n_views: int
    ) -> LabelledSamples:
        """Pixels, or maps of a stage, with their targets."""
        inputs: Samples
        if stage is None:
            assert data.images is not None
            inputs = PixelSamples(data.images, self.backbone.preprocess, self.recipe)
        else:
            inputs = self._maps(data, f"{stage}.map", n_views)
        return LabelledSamples(inputs, objective.encode(data.targets))

    def _maps(self, data: Dataset, feature: str, n_views: int) -> MapSamples:
        assert data.images is not None
        assert data.ids is not None
        options: dict[str, Any] = {
            "device": str(self.processes.device),
            "precision": self.precision,
            "storage": self.storage,
            "progress": self.progress and self.processes.is_first,
        }
        with self.processes.first_alone():
            plain = extract(
                data.images, self.backbone, [feature], self.store, keep_rows=False, **options
            )
            views = []
            if n_views:
                views = augmented_views(
                    data.images, data.ids, self.backbone, feature, self.store, self.recipe,
                    **options,
                )  # fmt: skip
        return MapSamples([plain.stored[feature], *views])

    def _write(
        self, network: BackboneWithHead[ImageHead], weights: Mapping[str, torch.Tensor]
    ) -> BackboneSpec:
        """Write the tuned weights."""
        whole = whole_weights(network.body, weights)
        folder = self.folder / "backbone"
        if self.processes.is_first:
            write_backbone(folder, self.backbone, whole)
        self._end()
        return resolve_tuned(folder, self.backbone)

    def _end(self) -> None:
        """Remove the checkpoint, which isn't needed any more, and wait for the other processes."""
        if self.processes.is_first:
            (self.folder / CHECKPOINT).unlink(missing_ok=True)
        self.processes.wait()

    def _say_no_gain(self, history: list[dict[str, float]]) -> None:
        before, *epochs = (line["val_metric"] for line in history)
        start = "the probe" if self.start is None else "the model it started from"
        logger.warning(
            "no gain: %s is kept, and the backbone as it was; none of %d epochs was better on the "
            "held-out part (at best %.3f, before %.3f)",
            start,
            len(epochs),
            max(epochs),
            before,
        )

    def signature(self, train: Dataset, held: Dataset | None) -> str:
        """Digest of everything that decides the result, except for the number of processes."""
        digest = hashlib.sha256()
        known = {
            "backbone": self.backbone.feature_spec("pre_logits", precision=self.precision).key,
            "strategy": self.strategy.name,
            "recipe": asdict(self.recipe),
            "task": self.task,
        }
        digest.update(canonical_json(known).encode())
        for data in (train, held):
            if data is not None:
                digest.update(b"".join(data.ids or ()))
                digest.update(np.ascontiguousarray(data.targets).tobytes())
        return digest.hexdigest()
