"""Images with what is known of them, and the part of them that is held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split

from transferkit.finetune.recipe import Recipe
from transferkit.images import ImageSet

__all__ = ["Data", "split"]


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
        None where it would be fewer than two images.
    """
    n_held = round(recipe.validation_fraction * len(train))
    if n_held < 2:
        return train, None
    by_class = train.y if task == "classification" else None
    for stratify in (by_class, None):
        try:
            kept, held = train_test_split(
                np.arange(len(train)),
                test_size=n_held,
                random_state=recipe.seed,
                stratify=stratify,
            )
            break
        except ValueError:  # a class is too small to be shared
            continue
    # The same bytes on both sides would tell nothing.
    seen = {train.ids[i] for i in kept}
    held = np.array([i for i in sorted(held) if train.ids[i] not in seen], int)
    return train.select(sorted(kept)), train.select(held) if len(held) else None
