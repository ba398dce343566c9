"""A fine-tuning run of a dense task: from a trained head and pixels to a tuned network."""

from __future__ import annotations

import functools
import hashlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transferkit.dense.fitting import LoopOf
from transferkit.dense.network import DenseNetwork
from transferkit.finetune.dense.head import MapsHead
from transferkit.finetune.dense.recipe import LiveSettings
from transferkit.finetune.network import BackboneWithHead, build_network
from transferkit.finetune.recipe import Strategy
from transferkit.finetune.training_loop import describe_shortage
from transferkit.finetune.weights import resolve_tuned, whole_weights, write_backbone
from transferkit.spec import BackboneSpec, canonical_json
from transferkit.training import Processes, TrainingLoop
from transferkit.training.schedule import parameter_groups

__all__ = ["DenseTuning", "LiveSamples", "TunedNetwork", "announce"]

logger = logging.getLogger(__name__)


class LiveSamples(Protocol):
    """Pairs of pixels and a target, by the keys of `transferkit.training.Samples`."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: tuple[int, int], /) -> Any: ...

    def truth(self) -> Iterator[NDArray[Any]]:
        """Yield all that is true of the images, as arrays."""


def announce(
    backbone: BackboneSpec, strategy: Strategy, recipe: LiveSettings, n_train: int, n_held: int
) -> None:
    """Say what will be trained, and how, in the log."""
    logger.info(
        "%s of %s on %s images (%s held out):",
        strategy.name,
        backbone.name,
        f"{n_train:,}",
        f"{n_held:,}" if n_held else "none",
    )
    lines = recipe.lines()
    for start in range(0, len(lines), 4):
        logger.info("  %s", ", ".join(lines[start : start + 4]))


@dataclass(frozen=True, eq=False)
class TunedNetwork:
    """Result of a fine-tuning run.

    Parameters
    ----------
    backbone : BackboneSpec
        With the tuned weights; the one that was given, if no epoch was better than the start.
    network : DenseNetwork
        Neck and head, on the CPU and in eval mode.
    whole : BackboneWithHead
        The backbone's body with them, on the CPU and in eval mode: pixels → what they make.
    history : list of dict
        One line for each epoch; the first is the start, before any step.
    best_epoch : int
        The epoch that was kept; 0 for the start.
    """

    backbone: BackboneSpec
    network: DenseNetwork
    whole: BackboneWithHead[MapsHead]
    history: list[dict[str, float]]
    best_epoch: int


@dataclass(frozen=True, eq=False)
class DenseTuning:
    """A run that trains a backbone together with its neck and head.

    Parameters
    ----------
    backbone : BackboneSpec
        What is tuned.
    features : sequence of str
        The maps that the neck takes, in the order of its levels.
    start : DenseNetwork
        Neck and head as they start; left as it is.
    strategy : Strategy
        Which of the backbone's parameters learn.
    recipe : LiveSettings
        How.
    processes : Processes
        This process's device, and the other processes of the run.
    folder : Path
        For checkpoint, curves and the tuned weights.
    keeps_start : bool
        Whether the start is kept where no epoch is better.
    keys : sequence of str
        What else decides the result, such as the images' ids; a checkpoint of another run is
        refused.
    tensorboard, progress : bool, default=False
        What is shown.
    """

    backbone: BackboneSpec
    features: Sequence[str]
    start: DenseNetwork
    strategy: Strategy
    recipe: LiveSettings
    processes: Processes
    folder: Path
    keeps_start: bool
    keys: Sequence[str]
    tensorboard: bool = False
    progress: bool = False

    def finish(
        self,
        create_loop: LoopOf,
        train: LiveSamples,
        held: LiveSamples | None,
        *,
        resume: bool = False,
    ) -> TunedNetwork:
        """Train, and write the tuned weights.

        Parameters
        ----------
        create_loop : callable
            Makes the loop of the network's task.
        train : LiveSamples
            What is trained on, such as `MaskedPixels` or `ObjectPixels`.
        held : LiveSamples or None
            What the best epoch is chosen by; None for the last.
        resume : bool, default=False
            Whether to go on from the folder's checkpoint.
        """
        began = time.monotonic()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            network, before = build_network(
                self.backbone, self.strategy, self.recipe, self._head, None
            )
        loop = self._loop(create_loop, network, train, held, began)
        loop.fit(resume=resume)
        state = loop.state
        backbone = self.backbone
        if state.best_epoch:
            backbone = self._written(network.body, before)
        else:
            _say_no_gain(loop.metric_name, state.history)
        network = network.cpu().to(memory_format=torch.contiguous_format).eval()
        logger.info("fine-tuned on %d images in %.1f s", len(train), time.monotonic() - began)
        return TunedNetwork(backbone, network.head.dense, network, state.history, state.best_epoch)

    def _head(self, width: int) -> MapsHead:
        """A copy of the start, on the maps that the body gives."""
        dense = self.start.from_arguments(self.start.arguments)
        dense.load_state_dict(self.start.state_dict())
        return MapsHead(dense, self.features)

    def _loop(
        self,
        create_loop: LoopOf,
        network: BackboneWithHead[MapsHead],
        train: Any,
        held: Any,
        began: float,
    ) -> TrainingLoop:
        recipe = self.recipe
        return create_loop(
            network,
            train,
            held,
            recipe,
            self.processes,
            self.folder,
            groups=_groups(network, recipe),
            signature=self._signature(train, held),
            keeps_start=self.keeps_start,
            deadline=began + 60 * recipe.minutes if recipe.minutes else math.inf,
            describe_shortage=functools.partial(
                describe_shortage, strategy="", minutes=recipe.minutes
            ),
            title="fine-tune",
            tensorboard=self.tensorboard,
            progress=self.progress,
        )

    def _written(self, body: nn.Module, before: dict[str, Tensor]) -> BackboneSpec:
        """Write the tuned backbone, and return its spec."""
        whole, folder = whole_weights(body, before), self.folder / "backbone"
        if self.processes.is_first:
            write_backbone(folder, self.backbone, whole)
        self.processes.wait()
        return resolve_tuned(folder, self.backbone)

    def _signature(self, train: LiveSamples, held: LiveSamples | None) -> str:
        """Digest of everything that decides the result, except for the number of processes."""
        digest = hashlib.sha256()
        known = {
            "backbone": self.backbone.to_json(),
            "features": list(self.features),
            "network": self.start.arguments,
            "strategy": self.strategy.name,
            "recipe": asdict(self.recipe),
            "keys": list(self.keys),
        }
        digest.update(canonical_json(known).encode())
        for part in (train, held):
            for one in () if part is None else part.truth():
                digest.update(np.ascontiguousarray(one).tobytes())
        return digest.hexdigest()


def _groups(network: BackboneWithHead[MapsHead], recipe: LiveSettings) -> list[dict[str, Any]]:
    """Parameters with their share of the rate: the backbone's is smaller than the head's."""
    settings = recipe.settings()
    body: Any = getattr(network.body, "network", network.body)
    groups = parameter_groups(body, network.head, settings)
    own = {id(parameter) for parameter in network.head.parameters()}
    for group in groups:
        if not any(id(parameter) in own for parameter in group["params"]):
            group["lr_scale"] = group.get("lr_scale", 1.0) * recipe.backbone_rate
    return groups


def _say_no_gain(metric: str, history: list[dict[str, float]]) -> None:
    before, *epochs = (line["val_metric"] for line in history)
    logger.warning(
        "no gain: the head on the frozen backbone is kept; none of %d epochs was better on the "
        "held-out part (%s at best %.3f, before %.3f)",
        len(epochs),
        metric,
        max(epochs),
        before,
    )
