"""Random changes of images: of one image, of cached views of it, of a batch.

The plain view of a cached map is an ordinary dense feature, ``stageK.map``, of the store. An
augmented view is the same feature under another view number. The number holds the
augmentation's parameters, and the image's id seeds it; so a view is a value like any other row,
computed once.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferkit.extract import View, extract
from transferkit.finetune.recipe import Recipe
from transferkit.images import ImageSet
from transferkit.spec import BackboneSpec
from transferkit.store import FeatureStore, StoredRows
from transferkit.training import seed_of

__all__ = ["augmentation", "augmented_views", "mixing", "view_number"]

_DRAWING = threading.Lock()


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


def mixing(
    recipe: Recipe, n_classes: int
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Mixture of images and class numbers that a recipe asks for; None if it asks for none.

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
    """Number of an augmented view: the view's own, and what it is drawn with.

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
    """Maps of every image in all augmented views, computed where the store lacks them.

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
    augment = augmentation(recipe, backbone.preprocess.image_size)
    views = []
    for n in range(1, recipe.views + 1):
        number = view_number(recipe, n)
        extraction = extract(
            images,
            backbone,
            [feature],
            store,
            keep_rows=False,
            view=View(number, functools.partial(_changed, augment, number)),
            device=device,
            precision=precision,
            storage=storage,
            progress=progress,
        )
        _check_unchanged(images, ids, extraction.ids)
        views.append(extraction.stored[feature])
    return views


def _changed(augment: Any, number: int, row: bytes, pixels: np.ndarray) -> np.ndarray:
    """Pixels of a view, drawn by the image's id: the same whenever they are computed."""
    # torchvision draws from the process's generator, which all threads share.
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(row, number))
        view = augment(torch.from_numpy(pixels).permute(2, 0, 1))
    return np.asarray(view.permute(1, 2, 0))


def _check_unchanged(images: ImageSet, ids: Sequence[bytes], decoded: Sequence[bytes]) -> None:
    """Raise where a view isn't one of the image that is trained on."""
    for name, then, now in zip(images.names, ids, decoded, strict=True):
        if then != now:
            raise RuntimeError(f"{name!r} was changed while views of it were computed; start again")
