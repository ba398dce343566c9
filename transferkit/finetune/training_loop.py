"""Connect fine-tuning to the training loop: the loss of a batch, the evaluation of an epoch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.finetune.augmentation import mixing
from transferkit.finetune.image_head import ImageHead
from transferkit.finetune.network import BackboneWithHead
from transferkit.finetune.objective import Objective
from transferkit.finetune.recipe import Recipe
from transferkit.finetune.samples import LabelledSamples
from transferkit.training import (
    Batches,
    Evaluation,
    Processes,
    Samples,
    Shortage,
    TrainingLoop,
    duration,
    load_batches,
)
from transferkit.training.schedule import parameter_groups

__all__ = ["create_training_loop", "describe_shortage", "outputs_of"]

BATCH = 64


def create_training_loop(
    network: BackboneWithHead[ImageHead],
    objective: Objective,
    recipe: Recipe,
    train: LabelledSamples,
    held: LabelledSamples | None,
    processes: Processes,
    folder: Path,
    *,
    strategy: str = "",
    **options: Any,
) -> TrainingLoop:
    """Create the training loop of a fine-tuning run.

    Parameters
    ----------
    network : BackboneWithHead
        Trained in place.
    objective : Objective
        Loss and metric.
    recipe : Recipe
        How.
    train : LabelledSamples
        What is trained on.
    held : LabelledSamples, optional
        What the best epoch is chosen by; without it the last epoch is kept.
    processes, folder
        As for `TrainingLoop`.
    strategy : str, default=""
        Its name, for what is said where the time is too short.
    **options
        The others of `TrainingLoop`, such as ``signature``.
    """
    settings = recipe.training_settings()
    body: Any = getattr(network.body, "network", network.body)
    return TrainingLoop(
        network,
        _loss(network.head, recipe),
        Batches(train, settings, share=_share(recipe, objective, train.targets)),
        settings,
        processes,
        folder,
        groups=parameter_groups(body, network.head, settings),
        evaluate=None if held is None else _evaluation(objective, held, processes, recipe),
        metric_name=objective.metric_name,
        n_evaluated=0 if held is None else len(held),
        describe_shortage=functools.partial(
            describe_shortage, strategy=strategy, minutes=recipe.minutes
        ),
        title="fine-tune",
        **options,
    )


def _loss(head: ImageHead, recipe: Recipe) -> Callable[[nn.Module, tuple[Tensor, Tensor]], Tensor]:
    """Loss of a batch, whose images may be mixed with one another first."""
    mix = mixing(recipe, head.n_outputs)

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch
        if mix is not None:
            inputs, targets = mix(inputs.float(), targets)
        return head.loss(network(inputs), targets)

    return loss


def _evaluation(
    objective: Objective, held: LabelledSamples, processes: Processes, recipe: Recipe
) -> Callable[[nn.Module], Evaluation]:
    """Metric and loss of the images that are held out."""

    def evaluate(network: nn.Module) -> Evaluation:
        outputs = outputs_of(network, held.inputs, objective.n_outputs, processes, recipe.precision)
        loss = objective.plain_loss(outputs, held.targets)
        return Evaluation(objective.metric(outputs, held.targets), loss)

    return evaluate


def _share(recipe: Recipe, objective: Objective, targets: Tensor) -> np.ndarray | None:
    """Sampling probability of each image, with which all classes are drawn equally often."""
    if recipe.sampling != "balanced" or not objective.kind.has_one_class:
        return None
    codes = targets.numpy()
    share = 1 / np.bincount(codes)[codes]
    return np.asarray(share / share.sum())


@torch.no_grad()
def outputs_of(
    network: nn.Module,
    inputs: Samples,
    n_outputs: int,
    processes: Processes,
    precision: str = "float32",
) -> Tensor:
    """Compute the outputs of all samples, without augmentation and in order, over all processes.

    Parameters
    ----------
    network : nn.Module
        Put in eval mode for it, and back after.
    inputs : Samples
        Pixels or maps.
    n_outputs : int
        How many outputs there are for each.
    processes : Processes
        All get all outputs.
    precision : str, default="float32"
        Numeric class of the forward pass.

    Returns
    -------
    Tensor of shape (n, n_outputs)
        float32, on the CPU.
    """
    was_training = network.training
    network.eval()
    shares = [np.arange(len(inputs))[rank :: processes.count] for rank in range(processes.count)]
    own = shares[processes.rank]
    rows = [own[first : first + BATCH] for first in range(0, len(own), BATCH)]
    outputs = [torch.zeros((0, n_outputs))]
    for batch in load_batches(inputs, rows, None, processes.n_workers):
        with processes.numeric_class(precision):
            outputs.append(network(batch.to(processes.device)).float().cpu())
    network.train(was_training)
    gathered = processes.gather(torch.cat(outputs))
    ordered = torch.empty_like(gathered)
    ordered[torch.from_numpy(np.concatenate(shares))] = gathered
    return ordered


def describe_shortage(shortage: Shortage, *, strategy: str, minutes: float) -> str:
    """Message that not even one epoch fits into the time, with what would fit.

    Parameters
    ----------
    shortage : Shortage
        What fits.
    strategy : str
        Its name.
    minutes : float
        The time given.
    """
    epoch = shortage.epoch_seconds
    # The probe and the maps have to be computed again too.
    enough = 60 * minutes - shortage.seconds_left + shortage.seconds_wanted
    others = f"give {duration(enough)} or more (three epochs), or a smaller image size"
    if strategy and not strategy.startswith("last-"):
        # Without gradient an image takes a third of the time; of several views each.
        others += (
            f", or strategy 'last-1-stages' with views=0, whose maps take about "
            f"{duration(epoch / 3)} once, and whose epochs a fraction of that"
        )
    return (
        f"{minutes:g} minutes allow about {shortage.epochs:.1f} epochs of {strategy or 'training'} "
        f"on {shortage.n_samples:,} images (an epoch takes about {duration(epoch)}), of which "
        f"little can be expected; {others}"
    )
