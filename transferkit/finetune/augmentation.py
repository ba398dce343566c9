"""Augmentation: random changes of single images, of cached views, and of batches.

The plain view of a cached map is an ordinary dense feature, ``stageK.map``, of the store. An
augmented view is the same feature under another view number. The number holds the
augmentation's parameters, and the image's id seeds it; so a view is a value like any other row,
computed once.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferkit.extract import View, extract
from transferkit.finetune.recipe import Recipe
from transferkit.images import Frame, ImageSet
from transferkit.spec import BackboneSpec
from transferkit.store import FeatureStore, StoredRows
from transferkit.training import seed_of

__all__ = ["augmentation", "augmented_views", "color_jitter", "mixing", "view_number", "view_of"]

_DRAWING = threading.Lock()


def augmentation(recipe: Recipe, size: tuple[int, int], *, is_rgb: bool = True) -> Any:
    """Random changes of one image ``(C, H, W)``, mostly through torchvision's transforms v2.

    Parameters
    ----------
    recipe : Recipe
        Which, and how strong.
    size : (int, int)
        Height and width of the result, px.
    is_rgb : bool, default=True
        Whether images are uint8 RGB, and not float32 from 0 to 255 with any channels.

    Raises
    ------
    ValueError
        If RandAugment, which is made for 8-bit RGB, is asked for of other images.
    """
    from torchvision.transforms import v2

    if recipe.rand_augment and not is_rgb:
        raise ValueError(
            f"rand_augment is {recipe.rand_augment}, which is for 8-bit RGB images; leave it out "
            "(rand_augment=0), jitter changes brightness and contrast of others"
        )
    steps: list[Any] = []
    if recipe.crop_scale < 1:
        steps.append(v2.RandomResizedCrop(size, scale=(recipe.crop_scale, 1), ratio=(4 / 5, 5 / 4)))
    if recipe.flip:
        steps.append(v2.RandomHorizontalFlip())
    if recipe.jitter:
        steps.append(color_jitter(recipe.jitter, is_rgb=is_rgb))
    if recipe.rand_augment:
        steps.append(v2.RandAugment(2, recipe.rand_augment))
    if recipe.erasing:
        steps.append(v2.RandomErasing(recipe.erasing, value=128))
    return v2.Compose(steps) if steps else v2.Identity()


def color_jitter(strength: float, *, is_rgb: bool) -> Any:
    """Random brightness, contrast and, of 8-bit RGB, saturation, as a transform of torchvision's.

    Parameters
    ----------
    strength : float
        Largest share by which each changes.
    is_rgb : bool
        As for `augmentation`.
    """
    from torchvision.transforms import v2

    if is_rgb:
        return v2.ColorJitter(strength, strength, strength)
    return v2.Lambda(functools.partial(_jittered, strength))


def _jittered(strength: float, image: Any) -> Any:
    """Change brightness and contrast of all channels alike, of an image from 0 to 255."""
    from torchvision import tv_tensors

    if isinstance(image, tv_tensors.Mask):
        return image
    brightness, contrast = (1 + strength * (2 * torch.rand(2) - 1)).clamp(min=0)
    brighter = image * brightness
    mean = brighter.mean()
    changed: Tensor = (mean + contrast * (brighter - mean)).clamp(0, 255)
    return changed


def mixing(
    recipe: Recipe, n_classes: int
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Create the mixing of images (Mixup, CutMix) that a recipe asks for; None if it asks for none.

    Parameters
    ----------
    recipe : Recipe
        Of both, each batch gets one or the other.
    n_classes : int
        Of the targets, which come out as shares ``(B, n_classes)``.

    References
    ----------
    Zhang, Cisse, Dauphin, Lopez-Paz (2018), "mixup: beyond empirical risk minimization"; Yun et
    al. (2019), "CutMix: regularization strategy to train strong classifiers".
    """
    from torchvision.transforms import v2

    chosen = []
    if recipe.mixup:
        chosen.append(v2.MixUp(alpha=recipe.mixup, num_classes=n_classes))
    if recipe.cutmix:
        chosen.append(v2.CutMix(alpha=recipe.cutmix, num_classes=n_classes))
    return v2.RandomChoice(chosen) if chosen else None


def view_number(recipe: Recipe, n: int) -> int:
    """Encode an augmented view's number together with the augmentation's parameters.

    Parameters
    ----------
    recipe : Recipe
        Crop, flip, jitter, RandAugment and erasing, each to a hundredth.
    n : int
        1 to 999.

    Examples
    --------
    >>> recipe = Recipe(epochs=1, batch_size=1, crop_scale=0.5, flip=True, jitter=0.2)
    >>> view_number(recipe, 3)
    2005001003
    """
    number = round(100 * recipe.erasing)
    for value, size in (
        (recipe.rand_augment, 100),
        (round(100 * recipe.jitter), 1000),
        (round(100 * recipe.crop_scale), 1000),
        (int(recipe.flip), 100),
        (n, 1000),
    ):
        number = number * size + int(value)
    return number


def view_of(recipe: Recipe, size: tuple[int, int], n: int, *, is_rgb: bool = True) -> View:
    """Make an augmented view. The image's id seeds it, so it is always the same.

    Parameters
    ----------
    recipe : Recipe
        The augmentation. With RandAugment, which turns and shears, a view has no frame.
    size : (int, int)
        Height and width of the network's input, px.
    n : int
        Which view, from 1.
    is_rgb : bool, default=True
        As for `augmentation`.
    """
    number = view_number(recipe, n)
    augment = augmentation(recipe, size, is_rgb=is_rgb)
    change = functools.partial(_changed, augment, number)
    if recipe.rand_augment:
        return View(number, change)
    # Crop and flip are drawn first, so that they are the same without the changes after them.
    moves = augmentation(dataclasses.replace(recipe, jitter=0.0, erasing=0.0), size)
    return View(number, change, functools.partial(_frame, moves, size, number))


def augmented_views(
    images: ImageSet,
    ids: Sequence[bytes],
    backbone: BackboneSpec,
    feature: str,
    store: FeatureStore,
    recipe: Recipe,
    *,
    device: str = "auto",
    precision: str = "float32",
    storage: str = "float16",
    progress: bool = False,
) -> list[StoredRows]:
    """Return the maps of every image in all augmented views. Missing ones are computed.

    Parameters
    ----------
    images : ImageSet
        All readable.
    ids : sequence of bytes
        Their row ids.
    backbone : BackboneSpec
        The backbone.
    feature : str
        ``stageK.map``.
    store : FeatureStore
        Where they are kept.
    recipe : Recipe
        The augmentation and how many views.
    device, precision, storage
        As for `transferkit.extract.extract`.
    progress : bool, default=False
        Whether a bar is shown on stderr.

    Returns
    -------
    list of StoredRows
        Maps ``(n, D, H, W)`` of each view, which are read from the store when they are needed.
    """
    views = []
    for n in range(1, recipe.views + 1):
        extraction = extract(
            images,
            backbone,
            [feature],
            store,
            keep_rows=False,
            view=view_of(
                recipe, backbone.preprocess.image_size, n, is_rgb=backbone.preprocess.is_rgb
            ),
            device=device,
            precision=precision,
            storage=storage,
            progress=progress,
        )
        _check_unchanged(images, ids, extraction.ids)
        views.append(extraction.stored[feature])
    return views


def _changed(augment: Any, number: int, row: bytes, pixels: np.ndarray) -> np.ndarray:
    """Make the pixels of a view."""
    view = _drawn(augment, number, row, torch.from_numpy(pixels).permute(2, 0, 1))
    return np.asarray(view.permute(1, 2, 0))


def _frame(moves: Any, size: tuple[int, int], number: int, row: bytes) -> Frame:
    """Find the map from the plain input's px to a view's, by augmenting an image of coordinates.

    Two places tell a linear map; they lie inside, where no edge is continued outwards.
    """
    y, x = torch.meshgrid(*(torch.arange(side) + 0.5 for side in size), indexing="ij")
    view = _drawn(moves, number, row, torch.stack([x, y, y])).double()
    (top, bottom), (left, right) = ((side // 4, side - 1 - side // 4) for side in size)
    near, far = view[:2, top, left], view[:2, bottom, right]
    scale = torch.tensor([right - left, bottom - top]) / (far - near)
    offset = torch.tensor([left + 0.5, top + 0.5]) - scale * near
    return Frame((scale[0].item(), scale[1].item()), (offset[0].item(), offset[1].item()))


def _drawn(augment: Any, number: int, row: bytes, image: Tensor) -> Tensor:
    """Change an image at random, seeded by its id and the view's number."""
    # torchvision draws from the global generator, which all threads share.
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(row, number))
        changed: Tensor = augment(image)
    return changed


def _check_unchanged(images: ImageSet, ids: Sequence[bytes], decoded: Sequence[bytes]) -> None:
    """Raise an error if a view wasn't made from the image that is trained on."""
    for name, then, now in zip(images.names, ids, decoded, strict=True):
        if then != now:
            raise RuntimeError(f"{name!r} was changed while views of it were computed; start again")
