"""The batches of a run: the samples of each step, and the seed of each sample.

A sample is asked for by its position and a seed, which decides everything that is drawn for
it. So a batch is the same in every process, in any number of workers, and after a resumption.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from transferkit.training.settings import TrainingSettings

__all__ = ["Batches", "Key", "Samples", "load_batches", "seed_of"]

Key = tuple[int, int]


class Samples(Dataset[Any]):
    """Samples by (position, seed). Seed -1 asks for the sample without augmentation.

    A subclass may also define ``__getitems__``, which takes all keys of a batch at once and
    returns a list: where samples lie on a disk, one reading is quicker than many.
    """

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, key: Key) -> Any:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Batches:
    """The training samples in the order of each epoch.

    Every step has the full batch size. Samples left over after the last whole batch are skipped in
    that epoch. If there are fewer samples than one batch, they are repeated.

    Parameters
    ----------
    samples : Samples
        Inputs with their targets; `collate` makes a batch of them.
    settings : TrainingSettings
        Batch size, accumulated parts and seed.
    share : ndarray of shape (n,), optional
        Each sample's probability, of samples that are drawn with replacement; by default each
        comes once an epoch.
    collate : callable, optional
        Makes a batch of a list of samples; by default tensors are stacked.
    """

    samples: Samples
    settings: TrainingSettings
    share: np.ndarray | None = None
    collate: Callable[[list[Any]], Any] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def order(self, epoch: int) -> np.ndarray:
        """Positions of an epoch's samples, ``(n_steps, batch_size)``."""
        n, size = len(self.samples), self.settings.batch_size
        rng = np.random.default_rng([self.settings.seed, epoch])
        order = rng.permutation(n) if self.share is None else rng.choice(n, n, p=self.share)
        return np.resize(order, (max(n // size, 1), size))

    def load(
        self, rows: Sequence[np.ndarray], seeds: tuple[int, ...], n_workers: int
    ) -> Iterator[Any]:
        """Load the batches of these positions; see `load_batches`."""
        return load_batches(self.samples, rows, seeds, n_workers, collate=self.collate)


def load_batches(
    samples: Samples,
    rows: Sequence[np.ndarray],
    seeds: tuple[int, ...] | None,
    n_workers: int,
    *,
    collate: Callable[[list[Any]], Any] | None = None,
) -> Iterator[Any]:
    """Load some batches, in their order.

    Parameters
    ----------
    samples : Samples
        Where they come from.
    rows : sequence of ndarray of int
        Positions of each batch.
    seeds : tuple of int, optional
        What each sample's seed is made of, beside its position; None for samples unchanged.
    n_workers : int
        Processes that prepare them; 0 for this one.
    collate : callable, optional
        As for `Batches`.
    """
    keys = [
        [(int(i), -1 if seeds is None else seed_of(*seeds, int(i))) for i in row] for row in rows
    ]
    loader: DataLoader[Any] = DataLoader(
        samples, batch_sampler=keys, num_workers=n_workers, collate_fn=collate
    )
    yield from loader


def seed_of(*parts: int | bytes) -> int:
    """Make a seed, 0 to 2⁶³ - 1, that depends on all parts.

    Examples
    --------
    >>> seed_of(1, 2) == seed_of(1, 2) != seed_of(2, 1)
    True
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
