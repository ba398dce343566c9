"""Train a neck and a head on cached maps."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from transferkit.dense.network import DenseNetwork
from transferkit.dense.recipe import DenseRecipe
from transferkit.dense.samples import DenseSamples
from transferkit.spec import canonical_json
from transferkit.training import Processes, Samples, TrainingLoop
from transferkit.training.schedule import parameter_groups

__all__ = ["LoopOf", "fit_network"]

logger = logging.getLogger(__name__)


class LoopOf(Protocol):
    """Makes the loop of a task: `create_segmentation_loop` or `create_object_loop`.

    What only that task's loop takes is bound beforehand, by `functools.partial`.
    """

    def __call__(
        self,
        network: nn.Module,
        train: Samples,
        held: Samples | None,
        recipe: Any,
        processes: Processes,
        folder: Path,
        **options: Any,
    ) -> TrainingLoop:
        """Make the loop; ``options`` are those of `TrainingLoop`."""


def fit_network(
    create_loop: LoopOf,
    network: DenseNetwork,
    train: DenseSamples,
    held: DenseSamples | None,
    recipe: DenseRecipe,
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
    create_loop : callable
        Makes the loop of the network's task.
    network : DenseNetwork
        With random weights.
    train : DenseSamples
        What is trained on.
    held : DenseSamples or None
        What the best epoch is chosen by; None for the last.
    recipe : DenseRecipe
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
        If there is nothing to learn from the training images.
    """
    start = time.monotonic()
    loop = create_loop(
        network,
        train,
        held,
        recipe,
        processes,
        folder,
        signature=_signature(network, train, recipe, keys),
        groups=parameter_groups(nn.Identity(), network, recipe.settings()),
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


def _signature(
    network: DenseNetwork, train: DenseSamples, recipe: DenseRecipe, keys: Sequence[str]
) -> str:
    """Digest of everything that decides the result."""
    digest = hashlib.sha256()
    digest.update(canonical_json([network.arguments, asdict(recipe), list(keys)]).encode())
    for one in train.truth():
        # With the shapes it matters too which image an object is on.
        digest.update(str(one.shape).encode())
        digest.update(np.ascontiguousarray(one).tobytes())
    return digest.hexdigest()
