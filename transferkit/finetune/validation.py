"""Choose the validation images: a part of the training images, or those that are given."""

from __future__ import annotations

import logging

import numpy as np

from transferkit.datasets import Dataset, hold_out, keep_apart
from transferkit.finetune.recipe import Recipe
from transferkit.tasks import task_of

__all__ = ["chosen_by", "split"]

logger = logging.getLogger(__name__)


def split(train: Dataset, recipe: Recipe, task: str) -> tuple[Dataset, Dataset | None]:
    """Hold out a part of the images, with the same share of each class if classes are large enough.

    Parameters
    ----------
    train : Dataset
        All training images.
    recipe : Recipe
        Share and seed.
    task : str
        What is learnt; a name of `transferkit.tasks`.

    Returns
    -------
    train, held : Dataset, Dataset or None
        None where it would be fewer than two images. No two images of the same bytes or of
        one group are on both sides.
    """
    n_held = round(recipe.validation_fraction * len(train))
    if n_held < 2:
        return train, None
    # Images of the same bytes or group on both sides would measure nothing.
    blocks = train.blocks
    by_class = train.y if task_of(task).has_one_class else None
    for labels in (by_class, None):
        try:
            kept, held = hold_out(len(train), n_held, recipe.seed, labels=labels, blocks=blocks)
        except ValueError:  # a class is too small to be shared, or all are of one group
            continue
        return train.select(kept), train.select(held) if len(held) else None
    return train, None


def chosen_by(train: Dataset, held: Dataset, task: str = "classification") -> list[Dataset]:
    """Return both parts, the validation part without images that measure nothing.

    These are images that are trained on, and images of classes that aren't.

    Parameters
    ----------
    train, held : Dataset
        What is trained on, and what was given to choose the best epoch by; with targets as
        they were given.
    task : str
        What is learnt; a name of `transferkit.tasks`.

    Returns
    -------
    list of Dataset
        The first alone if nothing is left of the second.
    """
    n, every = len(train), np.arange(len(train) + len(held))
    ids = (*(train.ids or ()), *(held.ids or ()))
    own, given = train.groups, held.groups
    groups = None if own is None or given is None else own + given
    apart, others = keep_apart(every[:n], every[n:], ids, groups)
    if task_of(task).of_targets(train.targets).has_one_class:
        is_known = np.isin(held.targets[apart - n].reshape(-1), train.targets)
        if not is_known.all():
            others["are of classes that aren't trained on"] = int((~is_known).sum())
        apart = apart[is_known]
    if not others:
        return [train, held]
    logger.warning(
        "of %s validation images %s: these are left out",
        f"{len(held):,}",
        " and ".join(f"{count:,} {why}" for why, count in others.items()),
    )
    return [train, held.select(apart - n)] if len(apart) else [train]
