"""Train a neck and a head on cached maps."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transferkit.dense.network import SegmentationNetwork
from transferkit.dense.samples import DenseSamples, class_counts
from transferkit.dense.segmentation import class_weights_of, create_loss
from transferkit.registry import unknown
from transferkit.spec import canonical_json
from transferkit.training import (
    Batches,
    Evaluation,
    Processes,
    Samples,
    TrainingLoop,
    TrainingSettings,
    load_batches,
)
from transferkit.training.schedule import parameter_groups

__all__ = [
    "SegmentationRecipe",
    "choose_segmentation_recipe",
    "create_segmentation_loop",
    "fit_network",
]

logger = logging.getLogger(__name__)

# Images that a head is trained on, over all epochs, unless the epochs are given. On a set of 96
# images 10 epochs of the unet head were as good as 14; smaller heads gain a little from more.
_TRAINED_ON = 1000
_MOST_EPOCHS = 50


@dataclass(frozen=True)
class SegmentationRecipe:
    """How a neck and a segmentation head are trained.

    Parameters
    ----------
    epochs : int
        Passes over the training images; `choose_segmentation_recipe` takes more of few images.
    batch_size : int
        Images of a step.
    learning_rate, weight_decay, warmup, clip, ema, patience, precision, seed
        As for `TrainingSettings`.
    loss : str
        As `create_loss` takes it.
    class_weights : str
        How the loss weighs the classes, as `class_weights_of` takes it.
    label_smoothing : float
        Share of the target that is spread over all classes.
    mirrored : bool
        Whether mirror images are trained on too; their maps are stored as well.
    """

    epochs: int = 8
    batch_size: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    clip: float = 1.0
    ema: float = 0.0
    patience: int = 0
    precision: str = "float32"
    loss: str = "cross-entropy+dice"
    class_weights: str = "none"
    label_smoothing: float = 0.0
    mirrored: bool = True
    seed: int = 0

    def settings(self) -> TrainingSettings:
        """Settings of the training loop."""
        named = {f.name for f in fields(TrainingSettings)}
        return TrainingSettings(**{n: v for n, v in asdict(self).items() if n in named})


def choose_segmentation_recipe(given: Mapping[str, Any], n_images: int) -> SegmentationRecipe:
    """Complete what the user sets of a recipe.

    Parameters
    ----------
    given : mapping
        Fields of `SegmentationRecipe`.
    n_images : int
        Training images. Unless the epochs are given, there are 8, or as many more as it takes
        to train on 1,000 images, up to 50.

    Raises
    ------
    ValueError
        If there's no such field, or a value isn't allowed.

    Examples
    --------
    >>> choose_segmentation_recipe({"epochs": 3}, 100).epochs
    3
    >>> [choose_segmentation_recipe({}, n).epochs for n in (1, 100, 1000)]
    [50, 10, 8]
    """
    known = {field.name: field for field in fields(SegmentationRecipe)}
    for name, value in given.items():
        if name not in known:
            raise unknown("setting", name, known)
        kind = type(known[name].default)
        fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
        if not fits or (kind is not bool and isinstance(value, bool)):
            raise ValueError(f"{name} is {value!r}; give a value such as {known[name].default!r}")
    needed = -(-_TRAINED_ON // max(n_images, 1))
    epochs = min(max(SegmentationRecipe.epochs, needed), _MOST_EPOCHS)
    recipe = SegmentationRecipe(**{"epochs": epochs, **given})
    for name in ("epochs", "batch_size", "learning_rate"):
        if not getattr(recipe, name) > 0:
            raise ValueError(f"{name} is {getattr(recipe, name)}; give a number above 0")
    return recipe


def fit_network(
    network: SegmentationNetwork,
    train: DenseSamples,
    held: DenseSamples | None,
    recipe: SegmentationRecipe,
    processes: Processes,
    folder: Path,
    *,
    keys: Sequence[str] = (),
    resume: bool = False,
    draws: bool = True,
    progress: bool = False,
) -> list[dict[str, float]]:
    """Train a network in place, and return the history of the epochs.

    Parameters
    ----------
    network : SegmentationNetwork
        With random weights.
    train : DenseSamples
        What is trained on.
    held : DenseSamples or None
        What the best epoch is chosen by, by the mean IoU; None for the last.
    recipe : SegmentationRecipe
        How.
    processes : Processes
        This process's device.
    folder : Path
        For checkpoint and curves.
    keys : sequence of str, default=()
        Keys and ids of the maps: a checkpoint of other ones is refused.
    resume : bool, default=False
        Whether to go on from the folder's checkpoint.
    draws : bool, default=True
        Whether the curves are drawn; in a folder that is removed nobody sees them.
    progress : bool, default=False
        Whether a progress bar is shown.

    Raises
    ------
    ValueError
        If no pixel of the training images has a class.
    """
    assert train.targets is not None
    settings = recipe.settings()
    start = time.monotonic()
    loop = create_segmentation_loop(
        network,
        train,
        held,
        recipe,
        processes,
        folder,
        targets=train.targets,
        n_classes=int(network.arguments["n_classes"]),
        signature=_signature(network, train.targets, recipe, keys),
        groups=parameter_groups(nn.Identity(), network, settings),
        keeps_start=False,
        title="head",
        draws=draws,
        progress=progress,
    )
    network.to(memory_format=torch.channels_last)
    loop.fit(resume=resume)
    network.to(memory_format=torch.contiguous_format)
    logger.info("trained the head on %d images in %.1f s", len(train), time.monotonic() - start)
    return loop.state.history


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
        value = criterion(module(_channels_last(inputs)).float(), target.long())
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
        evaluate=None if held is None else _evaluation(held, n_classes, recipe, processes),
        metric_name="mean IoU",
        n_evaluated=0 if held is None else len(held),
        **options,
    )


def _channels_last(inputs: Any) -> Any:
    """Maps or pixels with their channels side by side in memory.

    Convolutions of few channels on large maps are a fifth quicker so.
    """
    if isinstance(inputs, Tensor):
        return inputs.contiguous(memory_format=torch.channels_last)
    return [_channels_last(one) for one in inputs]


def _evaluation(
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


def _signature(
    network: SegmentationNetwork,
    targets: NDArray[Any],
    recipe: SegmentationRecipe,
    keys: Sequence[str],
) -> str:
    """Digest of everything that decides the result."""
    digest = hashlib.sha256()
    digest.update(canonical_json([network.arguments, asdict(recipe), list(keys)]).encode())
    for one in targets:
        digest.update(np.ascontiguousarray(one).tobytes())
    return digest.hexdigest()
