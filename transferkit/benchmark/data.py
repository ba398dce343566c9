"""A dataset of the benchmark: images, targets, and which rows are for what."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.estimators import targets_of
from transferkit.images import ImageSet, list_images

__all__ = ["Dataset", "Rows", "load_dataset"]

Array = NDArray[Any]
TEST_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class Rows:
    """Positions of a dataset's readable images, by part.

    Parameters
    ----------
    train, val, test : ndarray of int
        Positions among the extracted rows; `val` may be empty.
    digest : str
        Of the images' bytes, targets and parts.
    """

    train: Array
    val: Array
    test: Array
    digest: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images.

    Parameters
    ----------
    name : str
        As it is reported.
    images : ImageSet
        All of them, in order.
    y : ndarray
        Class numbers; 0 and 1 for several labels; or numbers.
    classes : tuple of str
        Names of classes or labels; empty for regression.
    task : {"classification", "multilabel", "regression"}
        What is to be learnt.
    parts : ndarray of str
        ``train``, ``val`` or ``test`` for each image; empty for one in none.
    """

    name: str
    images: ImageSet
    y: Array
    classes: tuple[str, ...]
    task: str
    parts: Array

    def rows(self, kept: Array, ids: tuple[bytes, ...]) -> Rows:
        """Rows of the readable images; test images that are trained on too are left out."""
        parts = self.parts[kept]
        own = np.array([i.hex() for i in ids])
        is_seen = np.isin(own, own[np.isin(parts, ("train", "val"))])
        test = np.flatnonzero((parts == "test") & ~is_seen)
        digest = hashlib.sha256()
        for row, part, target in zip(ids, parts, self.y[kept].tolist(), strict=True):
            digest.update(row + f"{part}{target}".encode())
        train, val = (np.flatnonzero(parts == part) for part in ("train", "val"))
        return Rows(train, val, test, digest.hexdigest()[:16])


def load_dataset(source: Any, *, name: str | None = None, task: str = "classification") -> Dataset:
    """Take a dataset and decide what is trained on and what is reported.

    Parameters
    ----------
    source
        Anything that `list_images` takes, with labels.
    name : str, optional
        What it is called; by default the folder's or file's name.
    task : {"classification", "regression"}, default="classification"
        Several label columns make it multi-label.

    Returns
    -------
    Dataset
        With the dataset's own parts, else a stratified fifth (seed 0) to report.

    Raises
    ------
    ValueError
        If there are no labels, or no part to train on.
    """
    images = list_images(source)
    given = targets_of(images, None, "benchmark", task)
    classes: tuple[str, ...] = ()
    y = given
    if task == "regression":
        y = given.astype(np.float64)
    elif given.ndim == 2 and given.shape[1] > 1:
        task, classes = "multilabel", tuple(images.label_names or map(str, range(given.shape[1])))
    else:
        known, y = np.unique(given.reshape(-1), return_inverse=True)
        classes = tuple(str(label) for label in known)
    if name is None:
        name = Path(source).stem if isinstance(source, str | Path) else type(source).__name__
    return Dataset(name, images, y, classes, task, _parts(images, y, task))


def _parts(images: ImageSet, y: Array, task: str) -> Array:
    parts = np.array([s or "" for s in images.splits or ["train"] * len(images)], dtype="U5")
    if "train" not in parts:
        raise ValueError(
            f"the images have splits ({', '.join(images.split_names)}) but no 'train'; add one"
        )
    if "test" not in parts:
        from sklearn.model_selection import train_test_split

        train = np.flatnonzero(parts == "train")
        stratify = y[train] if task == "classification" else None
        held = train_test_split(train, test_size=TEST_SHARE, random_state=0, stratify=stratify)[1]
        parts[held] = "test"
    return parts
