"""What training takes its batches from: decoded images, or cached maps; and their order.

A sample is asked for by its position and a seed, which decides everything that is drawn for
it. So a batch is the same in every process, in any number of workers, and after a resumption.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from transferkit.extract.pixels import network_input
from transferkit.finetune.recipe import Recipe
from transferkit.images import ImageSet, content_of
from transferkit.spec import Preprocess
from transferkit.store.files import allocate

__all__ = [
    "MapSamples",
    "Part",
    "PixelSamples",
    "Samples",
    "augmentation",
    "batches",
    "epoch_order",
    "seed_of",
]

Key = tuple[int, int]


class Samples(Dataset[Tensor]):
    """Inputs of a network by (position, seed); seed -1 is the plain one, without augmentation."""

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, key: Key) -> Tensor:
        raise NotImplementedError


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


@dataclass(frozen=True, eq=False)
class Part:
    """Images to train on, or to look at: their inputs and targets.

    Parameters
    ----------
    samples : Samples
        Inputs.
    targets : Tensor
        From `Objective.encode`.
    """

    samples: Samples
    targets: Tensor


def augmentation(recipe: Recipe, size: tuple[int, int]) -> Any:
    """Random changes of one uint8 image ``(3, H, W)``, through torchvision's transforms v2.

    Parameters
    ----------
    recipe : Recipe
        Which, and how strong.
    size : (int, int)
        Height and width of the result, px.
    """
    from torchvision.transforms import v2

    steps: list[Any] = []
    if recipe.crop_scale < 1:
        steps.append(v2.RandomResizedCrop(size, scale=(recipe.crop_scale, 1), ratio=(4 / 5, 5 / 4)))
    if recipe.flip:
        steps.append(v2.RandomHorizontalFlip())
    if recipe.jitter:
        steps.append(v2.ColorJitter(recipe.jitter, recipe.jitter, recipe.jitter))
    if recipe.rand_augment:
        steps.append(v2.RandAugment(2, recipe.rand_augment))
    if recipe.erasing:
        steps.append(v2.RandomErasing(recipe.erasing, value=128))
    return v2.Compose(steps) if steps else v2.Identity()


def seed_of(*parts: int | bytes) -> int:
    """A seed, 0 to 2⁶³ - 1, that depends on all parts.

    Examples
    --------
    >>> seed_of(1, 2) == seed_of(1, 2) != seed_of(2, 1)
    True
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def epoch_order(n: int, recipe: Recipe, epoch: int, codes: np.ndarray | None) -> np.ndarray:
    """Positions of an epoch's images, one row per step.

    Every step has the full batch size: what is left over after the last whole batch waits for
    another epoch, and fewer images than one batch are repeated.

    Parameters
    ----------
    n : int
        Training images.
    recipe : Recipe
        Batch size, sampling and seed.
    epoch : int
        Number of the epoch.
    codes : ndarray of shape (n,), optional
        Class numbers, for balanced sampling.

    Returns
    -------
    ndarray of int, shape (n_steps, batch_size)
    """
    rng = np.random.default_rng([recipe.seed, epoch])
    if recipe.sampling == "balanced" and codes is not None:
        share = 1 / np.bincount(codes)[codes]
        order = rng.choice(n, n, p=share / share.sum())
    else:
        order = rng.permutation(n)
    n_steps = max(n // recipe.batch_size, 1)
    return np.resize(order, (n_steps, recipe.batch_size))


def batches(
    samples: Samples, rows: Sequence[np.ndarray], seeds: tuple[int, ...] | None, n_workers: int
) -> Iterator[Tensor]:
    """Inputs of some batches, in their order.

    Parameters
    ----------
    samples : Samples
        Where they come from.
    rows : sequence of ndarray of int
        Positions of each batch.
    seeds : tuple of int, optional
        What the augmentation is drawn from, beside the position; None for none.
    n_workers : int
        Processes that prepare them; 0 for this one.
    """
    keys = [
        [(int(i), -1 if seeds is None else seed_of(*seeds, int(i))) for i in row] for row in rows
    ]
    loader: DataLoader[Tensor] = DataLoader(samples, batch_sampler=keys, num_workers=n_workers)
    yield from loader
