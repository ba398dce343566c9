"""`Dataset` holds labelled images with their features, row by row."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.datasets.blocks import blocks_of
from transferkit.datasets.unread import chosen_rows, joined_rows
from transferkit.images import ImageSet

__all__ = ["Dataset"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images with their features: row i of everything belongs to image i.

    Parameters
    ----------
    images : ImageSet, optional
        The images, all of them readable; None where only their features are known.
    ids : tuple of bytes, optional
        Row id of each image.
    X : array-like of shape (n_samples, n_features), optional
        Features: an array, or rows that lie in the store until they are read (`StoredRows`).
        None before anything was extracted.
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs), optional
        Targets; None where not every image has one.
    groups : tuple, optional
        What each image is one of several of; by default what the images say.
    splits : tuple of str or None, optional
        Part of each image; by default what the images say.

    Raises
    ------
    ValueError
        If they aren't equally many.

    See Also
    --------
    TransferClassifier.fit_features : Trains a head on a data set.
    transferkit.datasets.divide : Divides a data set's images into parts.

    Examples
    --------
    >>> data = Dataset(X=np.eye(3), y=np.array([0, 1, 1]), groups=("x", "y", "y"))
    >>> part = data.select([2, 0])
    >>> part.X.tolist(), part.y.tolist(), part.groups
    ([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], [1, 0], ('y', 'x'))
    """

    images: ImageSet | None = None
    ids: tuple[bytes, ...] | None = None
    X: Any = None
    y: Array | None = None
    groups: tuple[Hashable, ...] | None = None
    splits: tuple[str | None, ...] | None = None

    def __post_init__(self) -> None:
        if self.images is not None:
            for what in ("groups", "splits"):
                if getattr(self, what) is None:
                    object.__setattr__(self, what, getattr(self.images, what))
        sizes = {what: len(values) for what, values in self._columns().items()}
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{n} {what}" for what, n in sizes.items())
            raise ValueError(f"a data set has one of each per image, and these are {told}")

    def _columns(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {what: value for what, value in values.items() if value is not None}

    def __len__(self) -> int:
        return len(next(iter(self._columns().values()), ()))

    @property
    def targets(self) -> Array:
        """The same as `y`.

        Raises
        ------
        ValueError
            If there are none.
        """
        if self.y is None:
            raise ValueError("the data set has no targets; give it some (with_targets)")
        return self.y

    @property
    def blocks(self) -> Array | None:
        """Number of each image's block, which a split may not divide; see `blocks_of`."""
        return blocks_of(self.ids, self.groups)

    def select(self, positions: Iterable[int]) -> Dataset:
        """Return the images at these positions, in this order.

        Parameters
        ----------
        positions : iterable of int
            Of rows that stand behind each other no features are copied, and rows that lie in
            the store stay there.
        """
        at = np.asarray(list(positions), dtype=np.intp)
        if np.array_equal(at, np.arange(len(self))):
            return self
        is_run = len(at) > 0 and np.array_equal(at, np.arange(at[0], at[0] + len(at)))
        rows = slice(at[0], at[0] + len(at)) if is_run else at
        return Dataset(
            None if self.images is None else self.images.select(at),
            _chosen(self.ids, at),
            None if self.X is None else chosen_rows(self.X, rows),
            None if self.y is None else self.y[at],
            _chosen(self.groups, at),
            _chosen(self.splits, at),
        )

    def joined(self, other: Dataset) -> Dataset:
        """Return the rows of both data sets, these first, without the images."""
        return Dataset(
            None,
            _joined(self.ids, other.ids),
            None if self.X is None or other.X is None else joined_rows(self.X, other.X),
            None if self.y is None or other.y is None else np.concatenate([self.y, other.y]),
            _joined(self.groups, other.groups),
            _joined(self.splits, other.splits),
        )

    def with_targets(self, y: Array) -> Dataset:
        """Return the same images with these targets."""
        return dataclasses.replace(self, y=y)


def _chosen(values: Sequence[Any] | None, at: Array) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values[i] for i in at)


def _joined(first: Sequence[Any] | None, second: Sequence[Any] | None) -> tuple[Any, ...] | None:
    return None if first is None or second is None else (*first, *second)
