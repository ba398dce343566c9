"""Images with what is known of them, and the part of them that is held out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transferkit.datasets import blocks_of, hold_out, keep_apart
from transferkit.finetune.recipe import Recipe
from transferkit.images import ImageSet

__all__ = ["Data", "chosen_by", "split"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Data:
    """Readable images with what is known of them.

    Parameters
    ----------
    images : ImageSet
        The images.
    ids : tuple of bytes
        Their row ids.
    X : ndarray of shape (n, d)
        Their ``pre_logits`` before tuning.
    y : ndarray of shape (n,) or (n, n_outputs)
        Class numbers, 0 and 1, or numbers.
    """

    images: ImageSet
    ids: tuple[bytes, ...]
    X: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, indices: Sequence[int] | np.ndarray) -> Data:
        """Return the images at these positions."""
        chosen = [int(i) for i in indices]
        ids = tuple(self.ids[i] for i in chosen)
        return Data(self.images.select(chosen), ids, self.X[chosen], self.y[chosen])


def split(train: Data, recipe: Recipe, task: str) -> tuple[Data, Data | None]:
    """Hold out a part, of each class the same share where they are large enough.

    Parameters
    ----------
    train : Data
        All training images.
    recipe : Recipe
        Share and seed.
    task : {"classification", "multilabel", "regression"}
        What is learnt.

    Returns
    -------
    train, held : Data, Data or None
        None where it would be fewer than two images. No two images of the same bytes or of
        one group are on both sides.
    """
    n_held = round(recipe.validation_fraction * len(train))
    if n_held < 2:
        return train, None
    # The same bytes, or the same group, on both sides would tell nothing.
    blocks = blocks_of(train.ids, train.images.groups)
    by_class = train.y if task == "classification" else None
    for labels in (by_class, None):
        try:
            kept, held = hold_out(len(train), n_held, recipe.seed, labels=labels, blocks=blocks)
        except ValueError:  # a class is too small to be shared, or all are of one group
            continue
        return train.select(kept), train.select(held) if len(held) else None
    return train, None


def chosen_by(train: Data, held: Data, task: str = "classification") -> list[Data]:
    """Return both parts, the validation part without images that can't tell anything.

    These are images that are trained on, and images of classes that aren't.

    Parameters
    ----------
    train, held : Data
        What is trained on, and what was given to choose the best epoch by; with targets as
        they were given.
    task : {"classification", "regression"}
        What is learnt.

    Returns
    -------
    list of Data
        The first alone if nothing is left of the second.
    """
    n, every = len(train), np.arange(len(train) + len(held))
    own, given = train.images.groups, held.images.groups
    groups = None if own is None or given is None else own + given
    apart, others = keep_apart(every[:n], every[n:], train.ids + held.ids, groups)
    if task == "classification" and train.y.reshape(n, -1).shape[1] == 1:
        is_known = np.isin(held.y[apart - n].reshape(-1), train.y)
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
