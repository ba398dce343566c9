"""A tiny network, tiny pictures, and runs of a second."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.pictures import coloured
from transferkit import FeatureExtractor, FineTuneClassifier
from transferkit.finetune.loop import Training
from transferkit.finetune.network import TunedNetwork
from transferkit.finetune.objective import choose_objective
from transferkit.finetune.processes import Processes
from transferkit.finetune.recipe import Recipe
from transferkit.finetune.samples import Part, Samples


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


def small_training(folder: Path, n: int = 8, held: int = 0, **settings: Any) -> Training:
    """A run of a tiny network on `n` images of 2 × 2 px and two classes, not yet begun.

    Without what is to be tested nothing is done to the gradient or the images: plain SGD.
    """
    quiet = {"warmup": 0.0, "clip": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0}
    recipe = Recipe(
        **{"epochs": 1, "batch_size": n, "optimizer": "momentum", "learning_rate": 0.1}
        | {"freeze_statistics": True, "validation_fraction": 0.0, **quiet, **settings}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = torch.randint(256, (n + held, 3, 2, 2), dtype=torch.uint8)
        network = TunedNetwork(
            Body(), 4, 2, mean=(0.5,) * 3, std=(0.25,) * 3,
            freeze_statistics=recipe.freeze_statistics,
        )  # fmt: skip
        # Far from an optimum, and unlike for the two classes.
        torch.nn.init.normal_(network.head.weight)
    y = np.arange(n + held) % 2
    objective = choose_objective("classification", y[:n], recipe, np.array(["a", "b"]))
    targets = objective.encode(y)
    parts = [
        Part(Rows(images[chosen]), targets[chosen]) for chosen in (slice(0, n), slice(n, n + held))
    ]
    return Training(
        network, objective, recipe, parts[0], parts[1] if held else None,
        Processes(torch.device("cpu")), folder, signature="small",
    )  # fmt: skip
