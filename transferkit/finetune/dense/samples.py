"""Decoded images with a class for every pixel, changed at random together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.dense.samples import target_of
from transferkit.finetune.augmentation import color_jitter
from transferkit.finetune.dense.recipe import LiveRecipe
from transferkit.finetune.samples import decoded_pixels
from transferkit.images import ImageSet
from transferkit.spec import Preprocess
from transferkit.training import Samples
from transferkit.training.batches import Key

__all__ = ["MaskedPixels"]


class MaskedPixels(Samples):
    """Images at the network's input size, each with a class for every pixel.

    They are decoded once. What moves an image moves its classes too.

    Parameters
    ----------
    images : ImageSet
        All readable.
    targets : ndarray of shape (n, height, width)
        From `class_maps`, at the input's size.
    preprocess : Preprocess
        Of the backbone.
    recipe : LiveRecipe
        The random changes.
    """

    def __init__(
        self,
        images: ImageSet,
        targets: NDArray[Any],
        preprocess: Preprocess,
        recipe: LiveRecipe,
    ) -> None:
        self.pixels, self.targets = decoded_pixels(images, preprocess), targets
        self.change = _changes(recipe, preprocess.image_size, is_rgb=preprocess.is_rgb)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        from torchvision import tv_tensors

        index, seed = key
        pixels = torch.from_numpy(self.pixels[index]).permute(2, 0, 1)
        if seed < 0:
            return pixels, target_of(self.targets[index])
        torch.manual_seed(seed)
        classes = torch.from_numpy(self.targets[index])
        image, mask = self.change(tv_tensors.Image(pixels), tv_tensors.Mask(classes))
        return image.as_subclass(Tensor), target_of(mask.numpy())

    def truth(self) -> Iterator[NDArray[Any]]:
        """Yield all that is true of the images, as arrays: what the result depends on."""
        yield from self.targets


def _changes(recipe: LiveRecipe, size: tuple[int, int], *, is_rgb: bool) -> Any:
    """Random changes of an image and its mask, through torchvision's transforms v2."""
    from torchvision.transforms import v2

    steps: list[Any] = []
    if recipe.crop_scale < 1:
        steps.append(v2.RandomResizedCrop(size, scale=(recipe.crop_scale, 1), ratio=(4 / 5, 5 / 4)))
    if recipe.mirrored:
        steps.append(v2.RandomHorizontalFlip())
    if recipe.jitter:
        steps.append(color_jitter(recipe.jitter, is_rgb=is_rgb))
    return v2.Compose(steps) if steps else v2.Identity()
