"""A tiny network, tiny pictures, and runs of a second."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.pictures import coloured
from transferkit import FeatureExtractor, FineTuneClassifier
from transferkit.finetune.network import BackboneWithHead
from transferkit.finetune.objective import choose_objective
from transferkit.finetune.recipe import Recipe
from transferkit.finetune.samples import LabelledSamples
from transferkit.finetune.training_loop import create_training_loop
from transferkit.training import Processes, Samples, TrainingLoop


@pytest.fixture(scope="session")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Thirty pictures of three classes."""
    images, codes = coloured(10)
    return images, np.array(["red", "green", "blue"])[codes]


def extractor(name: str = "test_resnet", **options: Any) -> FeatureExtractor:
    return FeatureExtractor(
        name, **{"pretrained": False, "image_size": 32, "device": "cpu", **options}
    )


def classifier(
    folder: Path | None = None, strategy: str = "lp-ft", backbone: Any = None, **recipe: Any
) -> FineTuneClassifier:
    recipe = {"epochs": 2, "batch_size": 8, "precision": "float32", **recipe}
    return FineTuneClassifier(backbone or extractor(), strategy, recipe=recipe, folder=folder)


class Rows(Samples):
    """Inputs that are what they are, whatever the seed."""

    def __init__(self, inputs: torch.Tensor) -> None:
        self.inputs = inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:
        return self.inputs[key[0]]


class Body(torch.nn.Module):
    """Pixels through one layer and batch norm: small enough for a calculation by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(12, 4), torch.nn.BatchNorm1d(4)
        )

    def forward(self, images: torch.Tensor, layers: set[str]) -> Any:
        return SimpleNamespace(pre_logits=self.network(images))


def small_training(
    folder: Path,
    n: int = 8,
    held: int | LabelledSamples = 0,
    *,
    train: LabelledSamples | None = None,
    deadline: float = math.inf,
    strategy: str = "",
    **settings: Any,
) -> TrainingLoop:
    """A run of a tiny network on `n` images of 2 × 2 px and two classes, not yet begun.

    `train` takes the place of these images. Without what is to be tested nothing is done to
    the gradient or the images: plain SGD.
    """
    quiet = {"warmup": 0.0, "clip": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0}
    recipe = Recipe(
        **{"epochs": 1, "batch_size": n, "optimizer": "momentum", "learning_rate": 0.1}
        | {"freeze_statistics": True, "validation_fraction": 0.0, **quiet, **settings}
    )
    n_held = held if isinstance(held, int) else 0
    y = np.arange(n + n_held) % 2
    objective = choose_objective("classification", y[:n], recipe, np.array(["a", "b"]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = torch.randint(256, (n + n_held, 3, 2, 2), dtype=torch.uint8)
        network = BackboneWithHead(
            Body(), objective.create_head(4), mean=(0.5,) * 3, std=(0.25,) * 3,
            freeze_statistics=recipe.freeze_statistics,
        )  # fmt: skip
        # Far from an optimum, and unlike for the two classes.
        torch.nn.init.normal_(network.head.weight)
    targets = objective.encode(y)
    parts = [
        LabelledSamples(Rows(images[chosen]), targets[chosen])
        for chosen in (slice(0, n), slice(n, n + n_held))
    ]
    train = train or parts[0]
    held_part = held if isinstance(held, LabelledSamples) else parts[1] if held else None
    processes = Processes(torch.device("cpu"))
    training = create_training_loop(
        network, objective, recipe, train, held_part, processes, folder,
        strategy=strategy, signature="small", deadline=deadline,
    )  # fmt: skip
    vars(training).update(train=train, held=held_part, objective=objective)  # for tests to look at
    return training
