"""Mixup and CutMix of a batch, through torchvision's transforms v2."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from transferkit.finetune.recipe import Recipe

__all__ = ["mixing"]


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
