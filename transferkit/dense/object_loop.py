"""The loop that trains a network that finds objects, on maps or on pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.dense.detection import Suppression
from transferkit.dense.kinds import ObjectKind
from transferkit.dense.recipe import DenseRecipe
from transferkit.dense.samples import channels_last, objects_together
from transferkit.images import Frame
from transferkit.metrics import DetectionCounts, count_detections
from transferkit.training import (
    Batches,
    Evaluation,
    Processes,
    Samples,
    TrainingLoop,
    load_batches,
)

__all__ = ["create_object_loop", "predicted_counts"]

_EVALUATED_AT_ONCE = 8


def create_object_loop(
    network: nn.Module,
    train: Samples,
    held: Samples | None,
    recipe: DenseRecipe,
    processes: Processes,
    folder: Path,
    *,
    size: tuple[int, int],
    n_classes: int,
    n_objects: int,
    rule: Suppression,
    kind: ObjectKind,
    **options: Any,
) -> TrainingLoop:
    """Create the loop that trains a network that finds objects, on maps or on pixels.

    Parameters
    ----------
    network : nn.Module
        Inputs of the samples, the input's size, and targets → loss; with a `Suppression` instead
        of targets → what is detected; see `ObjectNetwork`. Trained in place.
    train, held : Samples
        Pairs of an input and a `Target`. What is held out chooses the best epoch, by the average
        precision; with None the last is kept.
    recipe, processes, folder
        As for `fit_network`.
    size : (int, int)
        Height and width of the network's input, px.
    n_classes : int
        Number of classes, the background among them.
    n_objects : int
        Objects of all that is trained on.
    rule : Suppression
        How what is held out is predicted.
    kind : ObjectKind
        What the task makes of targets and detections.
    **options
        The others of `TrainingLoop`, such as ``groups`` and ``signature``.

    Raises
    ------
    ValueError
        If there is no object in the training images.
    """
    if not n_objects:
        raise ValueError(
            "there is no object in the training images; give annotations with at least one that "
            "isn't ignored"
        )

    def loss(module: nn.Module, batch: Any) -> Tensor:
        inputs, targets = batch
        value = module(channels_last(inputs), size, targets)
        assert isinstance(value, Tensor)
        return value

    settings = recipe.settings()
    evaluate = None
    if held is not None:
        evaluate = _precision_evaluation(held, size, n_classes, rule, kind, recipe, processes)
    return TrainingLoop(
        network,
        loss,
        Batches(train, settings, collate=objects_together),
        settings,
        processes,
        folder,
        evaluate=evaluate,
        metric_name="AP",
        n_evaluated=0 if held is None else len(held),
        **options,
    )


def _precision_evaluation(
    held: Samples,
    size: tuple[int, int],
    n_classes: int,
    rule: Suppression,
    kind: ObjectKind,
    recipe: DenseRecipe,
    processes: Processes,
) -> Any:
    """Evaluation of a network by its average precision on held-out images, at the input's px."""

    def evaluate(network: nn.Module) -> Evaluation:
        with processes.numeric_class(recipe.precision):
            counts = predicted_counts(
                network, held, size, n_classes, rule, kind, to_device=processes.to_device
            )
        value = counts.average_precision()
        return Evaluation(0.0 if np.isnan(value) else value)

    return evaluate


def predicted_counts(
    network: nn.Module,
    held: Samples,
    size: tuple[int, int],
    n_classes: int,
    rule: Suppression,
    kind: ObjectKind,
    *,
    to_device: Callable[[Any], Any] = lambda batch: batch,
) -> DetectionCounts:
    """Detect what is on some samples, and compare it with their objects at the input's px.

    Parameters
    ----------
    network, held, size, n_classes, rule, kind
        As for `create_object_loop`.
    to_device : callable, optional
        Puts inputs where the network is.
    """
    rows = np.array_split(np.arange(len(held)), -(-len(held) // _EVALUATED_AT_ONCE))
    truth, predicted = [], []
    network.eval()
    with torch.inference_mode():
        for inputs, targets in load_batches(held, rows, None, 0, collate=objects_together):
            found = network(to_device(inputs), size, None, rule)
            truth += [kind.truth(target, size) for target in targets]
            predicted += [kind.found(found, i, Frame(), size) for i in range(len(targets))]
    names = [str(i) for i in range(n_classes)]
    return count_detections(truth, predicted, names, limit=rule.limit, shapes=kind.shapes)
