"""What fine-tuning takes its batches from: decoded images, or cached maps, with their targets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from transferkit.extract.pixels import network_input
from transferkit.finetune.augmentation import augmentation
from transferkit.finetune.recipe import Recipe
from transferkit.images import ImageSet, content_of
from transferkit.spec import Preprocess
from transferkit.store.files import allocate
from transferkit.training import Samples
from transferkit.training.batches import Key

__all__ = ["LabelledSamples", "MapSamples", "PixelSamples"]


class PixelSamples(Samples):
    """Images at the network's input size, decoded once, augmented when asked for.

    Parameters
    ----------
    images : ImageSet
        All readable.
    preprocess : Preprocess
        Of the backbone.
    recipe : Recipe
        The augmentation.
    """

    def __init__(self, images: ImageSet, preprocess: Preprocess, recipe: Recipe) -> None:
        height, width = preprocess.image_size
        # Above 1 GB in a temporary file, mapped into memory.
        self.pixels = allocate((len(images), height, width, 3), np.dtype(np.uint8))
        self.augment = augmentation(recipe, (height, width))

        def decode(index: int) -> None:
            content = content_of(images.items[index])
            self.pixels[index] = network_input(content, preprocess)[0]

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            list(pool.map(decode, range(len(images))))

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, key: Key) -> Tensor:
        index, seed = key
        image = torch.from_numpy(self.pixels[index]).permute(2, 0, 1)
        if seed < 0:
            return image
        torch.manual_seed(seed)
        augmented = self.augment(image)
        assert isinstance(augmented, Tensor)
        return augmented


class MapSamples(Samples):
    """Cached maps of every image in several views.

    Parameters
    ----------
    views : sequence of ndarray
        ``(n, D, H, W)`` each, the plain view first.
    """

    def __init__(self, views: Sequence[np.ndarray]) -> None:
        self.views = list(views)

    def __len__(self) -> int:
        return len(self.views[0])

    def __getitem__(self, key: Key) -> Tensor:
        index, seed = key
        view = 0
        if seed >= 0:
            torch.manual_seed(seed)
            view = int(torch.randint(len(self.views), ()))
        return torch.from_numpy(np.array(self.views[view][index]))


class LabelledSamples(Samples):
    """Inputs with their targets, to train on or to evaluate with.

    Parameters
    ----------
    inputs : Samples
        Pixels or maps.
    targets : Tensor
        From `Objective.encode`, one row for each input.
    """

    def __init__(self, inputs: Samples, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        return self.inputs[key], self.targets[key[0]]
