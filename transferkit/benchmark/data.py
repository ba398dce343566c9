"""A dataset of the benchmark: images, targets, and their division into parts."""

from __future__ import annotations

import abc
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import Annotations, AnnotationSet, read_annotations
from transferkit.datasets import Division, Roles, blocks_of, hold_out, keep_apart, roles_of
from transferkit.estimators import targets_of
from transferkit.images import ImageSet, list_images
from transferkit.tasks import dense, task_of

__all__ = [
    "AnnotatedDataset",
    "BenchmarkDataset",
    "ObjectDataset",
    "SegmentationDataset",
    "load_dataset",
]

Array = NDArray[Any]
TEST_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class BenchmarkDataset:
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
    task : str
        What is to be learnt: one of `transferkit.tasks.names`.
    parts : ndarray of str
        Part of each image: ``train``, ``val`` (to choose hyper-parameters) or ``test`` (to be
        measured); empty for none. Images that come without a test part have their own val part
        as ``test``.
    line : str, default=""
        The parts in words.
    """

    name: str
    images: ImageSet
    y: Array
    classes: tuple[str, ...]
    task: str
    parts: Array
    line: str = ""

    def divide(self, kept: Array, ids: tuple[bytes, ...]) -> Division:
        """Divide the readable images. Test images with a copy among the others are left out.

        Validation images with a copy in the training part are moved to the training part.

        Parameters
        ----------
        kept : ndarray of int
            Positions of the readable images.
        ids : tuple of bytes
            Their row ids.
        """
        parts = self.parts[kept]
        groups = None if self.images.groups is None else [self.images.groups[i] for i in kept]
        train, val, test = (np.flatnonzero(parts == part) for part in ("train", "val", "test"))
        apart, _ = keep_apart(train, val, ids, groups)
        measured, left_out = keep_apart(np.concatenate([train, val]), test, ids, groups)
        train = np.sort(np.concatenate([train, np.setdiff1d(val, apart)]))
        return Division(train, apart, measured, Roles("val", "test"), left_out=left_out)

    def digest(self, kept: Array, ids: tuple[bytes, ...], division: Division) -> str:
        """Digest of the readable images' bytes, targets and parts."""
        parts = self.parts[kept]
        parts[division.train] = "train"
        digest = hashlib.sha256()
        for row, part, target in zip(ids, parts, self.y[kept].tolist(), strict=True):
            digest.update(row + f"{part}{target}".encode())
        return digest.hexdigest()[:16]


_NONE = AnnotationSet((), ())


@dataclass(frozen=True, eq=False)
class AnnotatedDataset(BenchmarkDataset):
    """Images with annotations. Its `y` says nothing.

    Parameters
    ----------
    name, images, y, classes, task, parts, line
        As for `BenchmarkDataset`.
    annotations : AnnotationSet
        One per image.
    """

    annotations: AnnotationSet = field(default=_NONE)

    def digest(self, kept: Array, ids: tuple[bytes, ...], division: Division) -> str:
        """Digest of the readable images' bytes, parts, classes, and what is true of them."""
        parts = self.parts[kept]
        parts[division.train] = "train"
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for row, part, i in zip(ids, parts, kept, strict=True):
            found = self.annotations[int(i)]
            digest.update(row + f"{part}{found.size}".encode())
            for values in self._truth(found):
                digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()[:16]

    @abc.abstractmethod
    def _truth(self, found: Annotations) -> list[Array]:
        """All that is true of an image, in types that don't depend on the file's format."""


@dataclass(frozen=True, eq=False)
class SegmentationDataset(AnnotatedDataset):
    """Images with maps of classes; see `AnnotatedDataset`."""

    def _truth(self, found: Annotations) -> list[Array]:
        assert found.map is not None
        return [found.map.astype("<i4")]


@dataclass(frozen=True, eq=False)
class ObjectDataset(AnnotatedDataset):
    """Images with objects: boxes, masks or oriented boxes; see `AnnotatedDataset`."""

    def _truth(self, found: Annotations) -> list[Array]:
        assert found.labels is not None
        ignored = np.zeros(len(found.labels)) if found.ignored is None else found.ignored
        return [*self._places(found), found.labels.astype("<i4"), ignored.astype(np.uint8)]

    def _places(self, found: Annotations) -> list[Array]:
        needs = dense.dense_task_of(self.task).needs
        if needs == "masks":
            assert found.masks is not None
            pixels = [region.pixels.astype(np.uint8) for region in found.masks.regions]
            return [found.masks.boxes.astype("<f8"), *pixels]
        places = found.boxes if needs == "boxes" else found.oriented
        assert places is not None
        return [places.astype("<f8")]


def load_dataset(
    source: Any,
    *,
    name: str | None = None,
    task: str = "classification",
    group_column: str | None = None,
    annotations: Any = None,
    form: str | None = None,
    names_of_classes: Any = None,
    **listing: Any,
) -> BenchmarkDataset:
    """Load a dataset and decide which images are trained on and which are measured.

    Parameters
    ----------
    source
        Anything that `list_images` takes, with labels.
    name : str, optional
        What it is called; by default the folder's or file's name.
    task : str, default="classification"
        One of `transferkit.tasks.asked_names`; several label columns make it multi-label. Or a
        dense task, such as ``segmentation``: then images need no labels, but masks or boxes.
    group_column : str, optional
        As for `list_images`: images of one group are never on both sides.
    annotations, form, names_of_classes : optional
        Masks or boxes, their format, and their classes' names, as `read_annotations` takes
        ``given``, ``form`` and ``classes``; by default they are looked for.
    **listing
        Other options of `list_images`, such as ``exclude``.

    Returns
    -------
    BenchmarkDataset
        With the dataset's own parts, else a stratified fifth (seed 0) to report. Without a test
        part val is reported, and hyper-parameters are chosen on a part of train.

    Raises
    ------
    ValueError
        If there are no labels, or no part to train on.
    """
    if name is None:
        name = Path(source).stem if isinstance(source, str | Path) else type(source).__name__
    if task in dense.names():
        images = list_images(source, group_column=group_column, annotated=True, **listing)
        kind = dense.dense_task_of(task)
        if not kind.has_network:
            raise ValueError(f"there is no benchmark of {task} yet; fit and evaluate measure it")
        found = read_annotations(
            annotations,
            images,
            form=form,
            classes=names_of_classes,
            needs=kind.needs,
        )
        nothing = np.zeros(len(images), dtype=np.int64)
        parts, line = _parts(images, None)
        made = ObjectDataset if kind.has_objects else SegmentationDataset
        return made(name, images, nothing, found.classes, task, parts, line, found)
    images = list_images(source, group_column=group_column, **listing)
    targets = targets_of(images, None, "benchmark", task)
    meant = task_of(task).of_targets(targets)
    classes: tuple[str, ...] = ()
    y = targets
    if not meant.has_classes:
        y = targets.astype(np.float64)
    elif meant.has_several_labels:
        classes = tuple(images.label_names or map(str, range(targets.shape[1])))
    else:
        known, y = np.unique(targets.reshape(-1), return_inverse=True)
        classes = tuple(str(label) for label in known)
    labels = y if meant.has_one_class else None
    return BenchmarkDataset(name, images, y, classes, meant.name, *_parts(images, labels))


def _parts(images: ImageSet, labels: Array | None) -> tuple[Array, str]:
    """Part of each image, and a description; labels are what a share is stratified by."""
    roles = roles_of(images.split_names)
    parts = np.array([s or "" for s in images.splits or ["train"] * len(images)], dtype="U5")
    parts[parts == roles.measured] = "test"
    if roles.measured is None:
        train = np.flatnonzero(parts == "train")
        groups = None if images.groups is None else [images.groups[i] for i in train]
        held = hold_out(
            len(train),
            TEST_SHARE,
            0,
            labels=None if labels is None else labels[train],
            blocks=blocks_of(None, groups),
        )[1]
        parts[train[held]] = "test"
    counts = {name: f"{int((parts == name).sum()):,}" for name in ("train", "val", "test")}
    line = f"trained on {counts['train']}" + f", chosen on {counts['val']}" * bool(roles.validation)
    measured = roles.measured or f"held out: {TEST_SHARE:.0%}, seed 0"
    no_test = ": there is no test part" * (roles.measured == "val")
    return parts, f"{line}, measured on {counts['test']} ({measured}){no_test}"
