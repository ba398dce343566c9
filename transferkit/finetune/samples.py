"""Samples for fine-tuning: decoded images or cached maps, with their targets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.extract.pixels import network_input
from transferkit.finetune.augmentation import augmentation
from transferkit.finetune.recipe import Recipe
from transferkit.images import ImageSet, content_of
from transferkit.spec import Preprocess
from transferkit.store import StoredRows
from transferkit.store.files import allocate
from transferkit.training import Samples
from transferkit.training.batches import Key

__all__ = ["LabelledSamples", "MapSamples", "PixelSamples", "decoded_pixels"]


def decoded_pixels(images: ImageSet, preprocess: Preprocess) -> NDArray[Any]:
    """Decode images to the network's input, on several threads.

    Parameters
    ----------
    images : ImageSet
        All readable.
    preprocess : Preprocess
        Of the backbone.

    Returns
    -------
    ndarray of shape (n, H, W, C)
        uint8 RGB, or float32 from 0 to 255; above 1 GB in a temporary file, mapped into memory.
    """
    dtype = np.dtype(np.uint8 if preprocess.is_rgb else np.float32)
    shape = (len(images), *preprocess.image_size, preprocess.in_chans)
    pixels: NDArray[Any] = allocate(shape, dtype)

    def decode(index: int) -> None:
        pixels[index] = network_input(content_of(images.items[index]), preprocess)[0]

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(decode, range(len(images))))
    return pixels


class PixelSamples(Samples):
    """Images at the network's input size. They are decoded once, and augmented on request.

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
        self.pixels = decoded_pixels(images, preprocess)
        self.augment = augmentation(recipe, (height, width), is_rgb=preprocess.is_rgb)

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
    """Cached maps of every image in several views, read a batch at a time.

    Parameters
    ----------
    views : sequence of ndarray or StoredRows
        ``(n, D, H, W)`` each, the plain view first.
    """

    def __init__(self, views: Sequence[np.ndarray | StoredRows]) -> None:
        self.views = list(views)

    def __len__(self) -> int:
        return len(self.views[0])

    def __getitem__(self, key: Key) -> Tensor:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[Tensor]:
        """Return the maps of several keys, in their order."""
        at = np.array([index for index, _ in keys])
        of_view = np.array([self._view(seed) for _, seed in keys])
        maps: dict[int, Tensor] = {}
        for view in np.unique(of_view):
            chosen = np.flatnonzero(of_view == view)
            rows = np.asarray(self.views[view][at[chosen]])
            maps |= dict(zip(chosen.tolist(), torch.from_numpy(rows), strict=True))
        return [maps[i] for i in range(len(keys))]

    def _view(self, seed: int) -> int:
        if seed < 0:
            return 0
        torch.manual_seed(seed)
        return int(torch.randint(len(self.views), ()))


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
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[tuple[Tensor, Tensor]]:
        """Return the pairs of several keys, in their order."""
        together: Any = getattr(self.inputs, "__getitems__", None)
        inputs = together(keys) if together else [self.inputs[key] for key in keys]
        return [(x, self.targets[i]) for x, (i, _) in zip(inputs, keys, strict=True)]
