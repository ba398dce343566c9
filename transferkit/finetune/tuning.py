"""From images, features and targets to a tuned backbone and its head: the steps in their order.

Probe → network → samples → training → weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transferkit.digests import cache_folder
from transferkit.extract import extract
from transferkit.finetune.activations import augmented_views
from transferkit.finetune.backbone import resolve_tuned, write_backbone
from transferkit.finetune.checkpoints import CHECKPOINT, warn_of_checkpoint
from transferkit.finetune.cutting import stage_below
from transferkit.finetune.data import Data, split
from transferkit.finetune.heads import fitted_head, head_weights, tempered
from transferkit.finetune.loop import Training
from transferkit.finetune.lora import merge_adapters
from transferkit.finetune.network import TunedNetwork, build_network
from transferkit.finetune.objective import Objective, choose_objective
from transferkit.finetune.processes import Processes, native_precision
from transferkit.finetune.recipe import Recipe, choose_recipe
from transferkit.finetune.samples import MapSamples, Part, PixelSamples, Samples
from transferkit.finetune.strategies import Strategy
from transferkit.heads import create_head
from transferkit.spec import BackboneSpec, canonical_json
from transferkit.store import FeatureStore

__all__ = ["Tuned", "Tuning", "tune"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Tuned:
    """What comes of a run.

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
        Whose weights were kept.
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


def tune(
    train: Data,
    held: Data | None,
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
) -> Tuned:
    """Tune a backbone.

    Parameters
    ----------
    train : Data
        What is trained on; a part of it chooses the best epoch if `held` is None.
    held : Data or None
        The validation part, if there is one.
    backbone, strategy, task, classes, processes
        As for `Tuning`.
    settings : mapping
        Fields of `Recipe` that the user sets.
    store : FeatureStore or None
        For cached maps; None keeps none after the call.
    folder : Path or None
        None for one in the user's cache directory, named after the run.
    resume : bool, default=False
        Whether to go on from the folder's checkpoint.
    **options
        The others of `Tuning`.
    """
    n_devices, precision = processes.count, native_precision(processes.device)
    recipe = choose_recipe(settings, strategy, len(train), n_devices=n_devices, precision=precision)
    if held is None and recipe.validation_fraction:
        train, held = split(train, recipe, task)
    with contextlib.ExitStack() as stack:
        if store is None:
            store = FeatureStore(stack.enter_context(tempfile.TemporaryDirectory()))
        tuning = Tuning(
            backbone, strategy, recipe, task, classes, store, processes, Path(), **options
        )
        signature = tuning.signature(train, held)
        tuning.folder = folder or cache_folder() / "finetuned" / signature[:16]
        tuning.folder.mkdir(parents=True, exist_ok=True)
        if processes.is_first and not resume:
            warn_of_checkpoint(tuning.folder)
        logger.info(
            "%s of %s on %s images (%s held out):",
            strategy.name,
            backbone.name,
            f"{len(train):,}",
            "none" if held is None else f"{len(held):,}",
        )
        for line in recipe.table(strategy):
            logger.info("  %s", line)
        return tuning.finish(train, held, resume=resume)


@dataclass(eq=False)
class Tuning:
    """A run that is to be done.

    Parameters
    ----------
    backbone : BackboneSpec
        What is tuned.
    strategy : Strategy
        What of it.
    recipe : Recipe
        How.
    task : {"classification", "multilabel", "regression"}
        For what.
    classes : ndarray
        Labels that the class numbers stand for.
    store : FeatureStore
        For cached maps.
    processes : Processes
        Device and company.
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

    def finish(self, train: Data, held: Data | None, *, resume: bool = False) -> Tuned:
        """Train, write the tuned weights and fit them with their head.

        Parameters
        ----------
        train : Data
            What is trained on.
        held : Data or None
            What the best epoch is chosen by; None for the last.
        resume : bool, default=False
            Whether to go on from the folder's checkpoint.
        """
        began = time.monotonic()
        objective = choose_objective(self.task, train.y, self.recipe, self.classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            stage = self._stage()
            network, weights = build_network(
                self.backbone, self.strategy, self.recipe, objective.n_outputs, stage
            )
        start = self._start(train, objective)
        if start is not None:
            seen = train if held is None else held
            network.set_head(*tempered(*start, seen.X, objective.encode(seen.y), objective))
        parts = [
            None
            if data is None
            else Part(self._samples(data, stage, is_train=data is train), objective.encode(data.y))
            for data in (train, held)
        ]
        assert parts[0] is not None
        training = Training(
            network, objective, self.recipe, parts[0], parts[1], self.processes, self.folder,
            signature=self.signature(train, held),
            deadline=began + 60 * self.recipe.minutes if self.recipe.minutes else math.inf,
            tensorboard=self.tensorboard,
            progress=self.progress,
            strategy=self.strategy.name,
            keeps_start=start is not None,
        )  # fmt: skip
        training.fit(resume=resume)
        if training.best_epoch:
            tuned = self._write(network, weights)
        else:  # nothing has changed: not the weights, not their digest, not the features
            tuned = self.backbone
            self._say_no_gain(training.history)
            self._end()
        head = fitted_head(
            network.head.weight, network.head.bias, objective, flat=train.y.ndim == 1
        )
        seconds = time.monotonic() - began
        logger.info("fine-tuned on %s images in %.1f s", f"{len(train):,}", seconds)
        return Tuned(
            tuned, head, training.recipe, training.history, training.best_epoch, seconds,
            self.folder,
        )  # fmt: skip

    def _stage(self) -> str | None:
        if self.strategy.n_stages is None:
            return None
        from transferkit.backbones import build_backbone

        layers = build_backbone(self.backbone).layers
        return stage_below(layers, self.strategy.n_stages, self.backbone.name)

    def _start(self, train: Data, objective: Objective) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Weights and biases of the head to start from; None for a fresh one."""
        if self.start is not None:
            return head_weights(self.start, objective)
        if not self.strategy.starts_from_probe:
            return None
        if self.task != "regression":
            return head_weights(create_head("linear").fit(train.X, train.y), objective)
        # On the targets that the network learns: they are as exact in float32 as any.
        head = create_head("linear", "regression").fit(train.X, objective.encode(train.y).numpy())
        return head_weights(head, Objective(self.task, objective.n_outputs))

    def _samples(self, data: Data, stage: str | None, *, is_train: bool) -> Samples:
        if stage is None:
            return PixelSamples(data.images, self.backbone.preprocess, self.recipe)
        feature = f"{stage}.map"
        options: dict[str, Any] = {
            "device": str(self.processes.device),
            "precision": self.precision,
            "storage": self.storage,
            "progress": self.progress and self.processes.is_first,
        }
        with self.processes.first_alone():
            plain = extract(data.images, self.backbone, [feature], self.store, **options)
            views = []
            if is_train and self.recipe.views:
                views = augmented_views(
                    data.images, data.ids, self.backbone, feature, self.store, self.recipe,
                    **options,
                )  # fmt: skip
        return MapSamples([plain.rows[feature], *views])

    def _write(self, network: TunedNetwork, weights: Mapping[str, torch.Tensor]) -> BackboneSpec:
        """Write the tuned weights."""
        merge_adapters(network.body)
        # What stood below a cut is not in the network, and stayed as it was.
        whole = {**weights, **network.body.state_dict()}
        assert whole.keys() == weights.keys()
        folder = self.folder / "backbone"
        if self.processes.is_first:
            write_backbone(folder, self.backbone, whole)
        self._end()
        return resolve_tuned(folder, self.backbone)

    def _end(self) -> None:
        """Remove the checkpoint, which has served, and wait for the other processes."""
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

    def signature(self, train: Data, held: Data | None) -> str:
        """Digest of all that decides the result, the number of processes left aside."""
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
                digest.update(b"".join(data.ids))
                digest.update(np.ascontiguousarray(data.y).tobytes())
        return digest.hexdigest()
