"""The loop that trains a network of segmentation, on maps or on pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transferkit.dense.recipe import SegmentationRecipe
from transferkit.dense.samples import channels_last, class_counts
from transferkit.dense.segmentation import class_weights_of, create_loss
from transferkit.training import (
    Batches,
    Evaluation,
    Processes,
    Samples,
    TrainingLoop,
    load_batches,
)

__all__ = ["create_segmentation_loop"]


def create_segmentation_loop(
    network: nn.Module,
    train: Samples,
    held: Samples | None,
    recipe: SegmentationRecipe,
    processes: Processes,
    folder: Path,
    *,
    targets: NDArray[Any],
    n_classes: int,
    **options: Any,
) -> TrainingLoop:
    """Create the loop that trains a network of segmentation, on maps or on pixels.

    Parameters
    ----------
    network : nn.Module
        Inputs of the samples → scores ``(B, n_classes, h, w)``; trained in place.
    train, held : Samples
        Pairs of an input and a target, from `target_of`. What is held out chooses the best
        epoch, by the mean IoU; with None the last is kept.
    recipe, processes, folder
        As for `fit_network`.
    targets : ndarray of shape (n, height, width)
        Class maps of all that is trained on, of which class weights are made.
    n_classes : int
        Number of classes.
    **options
        The others of `TrainingLoop`, such as ``groups`` and ``signature``.

    Raises
    ------
    ValueError
        If no pixel of the training images has a class.
    """
    counts = class_counts(targets, n_classes)
    if not counts.sum():
        raise ValueError(
            "not one pixel of the training images has a class: all are void; give masks that "
            "name classes"
        )
    criterion = create_loss(
        recipe.loss,
        class_weights=class_weights_of(counts, recipe.class_weights),
        label_smoothing=recipe.label_smoothing,
    ).to(processes.device)

    def loss(module: nn.Module, batch: Any) -> Tensor:
        inputs, target = batch
        value = criterion(module(channels_last(inputs)).float(), target.long())
        assert isinstance(value, Tensor)
        return value

    settings = recipe.settings()
    return TrainingLoop(
        network,
        loss,
        Batches(train, settings),
        settings,
        processes,
        folder,
        evaluate=None if held is None else _iou_evaluation(held, n_classes, recipe, processes),
        metric_name="mean IoU",
        n_evaluated=0 if held is None else len(held),
        **options,
    )


def _iou_evaluation(
    held: Samples, n_classes: int, recipe: SegmentationRecipe, processes: Processes
) -> Any:
    """Evaluation of a network by its mean IoU on held-out images, at the input's px."""
    from torch.nn.functional import interpolate

    rows = np.array_split(np.arange(len(held)), -(-len(held) // recipe.batch_size))

    def evaluate(network: nn.Module) -> Evaluation:
        network.eval()
        confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
        with torch.inference_mode():
            for inputs, target in load_batches(held, rows, None, 0):
                with processes.numeric_class(recipe.precision):
                    scores = network(processes.to_device(inputs)).float()
                size = tuple(target.shape[-2:])
                found = interpolate(scores, size, mode="bilinear", align_corners=False).argmax(1)
                known = target >= 0
                at = target[known].long() * n_classes + found.cpu()[known]
                confusion += np.bincount(at.numpy(), minlength=n_classes**2).reshape(
                    n_classes, n_classes
                )
        return Evaluation(_mean_iou(confusion))

    return evaluate


def _mean_iou(confusion: NDArray[np.int64]) -> float:
    """Mean IoU of the classes that occur, in the truth or among the predictions."""
    both = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - both
    return float((both[union > 0] / union[union > 0]).mean()) if union.any() else 0.0
