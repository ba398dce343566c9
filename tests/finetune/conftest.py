"""A tiny network, tiny pictures, and runs of a second."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pictures import coloured
from transferkit import FeatureExtractor, FineTuneClassifier


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
