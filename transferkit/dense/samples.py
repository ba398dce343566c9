"""Samples of dense tasks: the maps of some layers, with a class for every pixel or objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferkit.annotations import VOID, AnnotationSet
from transferkit.dense.detection import Target
from transferkit.images import Frame
from transferkit.store import StoredRows
from transferkit.store.files import allocate
from transferkit.training import Samples
from transferkit.training.batches import Key

__all__ = [
    "DenseSamples",
    "ObjectSamples",
    "channels_last",
    "class_counts",
    "class_maps",
    "objects_together",
    "target_of",
]

Rows = NDArray[Any] | StoredRows

# Class maps of up to 255 classes are kept as one byte per pixel, of which this one is `VOID`.
_BYTE_VOID = 255


def class_maps(
    annotations: AnnotationSet, frames: Sequence[Frame], size: tuple[int, int]
) -> NDArray[Any]:
    """Class of every pixel of the network's input, for all images.

    Parameters
    ----------
    annotations : AnnotationSet
        With a `map` for each image.
    frames : sequence of Frame
        From each image's px to the input's.
    size : (int, int)
        Height and width of the input, px.

    Returns
    -------
    ndarray of shape (n, height, width)
        uint8 with 255 for `VOID`, or int16 where there are more than 255 classes; above 1 GB in
        a temporary file.
    """
    is_small = len(annotations.classes) <= _BYTE_VOID
    maps: NDArray[Any] = allocate(
        (len(annotations), *size), np.dtype(np.uint8 if is_small else np.int16)
    )
    for i, frame in enumerate(frames):
        moved = annotations[i].moved(frame, size).map
        assert moved is not None
        maps[i] = np.where(moved == VOID, _BYTE_VOID, moved) if is_small else moved
    return maps


def class_counts(maps: NDArray[Any], n_classes: int) -> NDArray[np.int64]:
    """Number of pixels of each class in all maps, `VOID` left out."""
    counts = np.zeros(n_classes, dtype=np.int64)
    for one in maps:
        known = one[one != _BYTE_VOID] if one.dtype == np.uint8 else one[one != VOID]
        counts += np.bincount(known.ravel(), minlength=n_classes)[:n_classes]
    return counts


def target_of(classes: NDArray[Any]) -> Tensor:
    """Target of a loss, int16 with `VOID`, from one of `class_maps` or a part of it."""
    known = torch.from_numpy(classes.astype(np.int16))
    return known.masked_fill_(known == _BYTE_VOID, VOID) if classes.dtype == np.uint8 else known


class DenseSamples(Samples):
    """Maps of some layers with the class of every pixel, read a batch at a time.

    Parameters
    ----------
    views : sequence of sequence of ndarray or StoredRows
        Of each view the rows of each level, ``(n, D, H, W)``; the plain view first, then, if
        there is one, the mirrored view.
    targets : ndarray of shape (n, height, width), optional
        From `class_maps`; None for maps alone.
    """

    def __init__(
        self, views: Sequence[Sequence[Rows]], targets: NDArray[Any] | None = None
    ) -> None:
        self.views, self.targets = [list(view) for view in views], targets

    def __len__(self) -> int:
        return len(self.views[0][0])

    def __getitem__(self, key: Key) -> Any:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[tuple[list[Tensor], Any]]:
        """Return the maps of several keys with their targets, in the keys' order."""
        at = np.array([index for index, _ in keys])
        of_view = np.array([self._view(seed) for _, seed in keys])
        found: list[Any] = [None] * len(keys)
        for view in np.unique(of_view).tolist():
            chosen = np.flatnonzero(of_view == view)
            levels = [np.asarray(rows[at[chosen]]) for rows in self.views[view]]
            for i, position in enumerate(chosen.tolist()):
                maps = [torch.from_numpy(level[i]) for level in levels]
                found[position] = (maps, self._target(int(at[position]), view))
        return found

    def truth(self) -> Iterator[NDArray[Any]]:
        """Yield all that is true of the images, as arrays: what the result depends on."""
        yield from () if self.targets is None else self.targets

    def _target(self, index: int, view: int) -> Any:
        if self.targets is None:
            return torch.empty(0, dtype=torch.int16)
        target = self.targets[index]
        return target_of(target[:, ::-1] if view == 1 else target)

    def _view(self, seed: int) -> int:
        """Plain view without a seed; of a seed, each view is as likely."""
        return 0 if seed < 0 else seed % len(self.views)


class ObjectSamples(DenseSamples):
    """Maps of some layers with the objects of every image, read a batch at a time.

    Parameters
    ----------
    views : sequence of sequence of ndarray or StoredRows
        Of each view the rows of each level, ``(n, D, H, W)``; the plain view first.
    objects : sequence of sequence of Target
        Of each view the objects of every image, in its own px.
    image_of : ndarray of int, optional
        The image that each row is a tile of; None if the rows are images.
    """

    def __init__(
        self,
        views: Sequence[Sequence[Rows]],
        objects: Sequence[Sequence[Target]],
        image_of: NDArray[np.intp] | None = None,
    ) -> None:
        super().__init__(views)
        self.objects = [list(view) for view in objects]
        self.image_of = np.arange(len(self.objects[0])) if image_of is None else image_of

    @property
    def most_objects(self) -> int:
        """Objects of the fullest image, ignored ones too; of its tiles each counts for itself."""
        numbers = [len(target["labels"]) for target in self.objects[0]]
        return int(np.bincount(self.image_of, numbers).max(initial=0))

    @property
    def n_objects(self) -> int:
        """Objects of all images that are learnt, as the plain view shows them."""
        return sum(int((target["labels"] > 0).sum()) for target in self.objects[0])

    def truth(self) -> Iterator[NDArray[Any]]:
        """Yield all that is true of the images, as arrays: what the result depends on."""
        for target in self.objects[0]:
            # Tasks have further keys than boxes and labels.
            values: Mapping[str, Any] = target
            yield from (value.numpy() for value in values.values())

    def _target(self, index: int, view: int) -> Any:
        return self.objects[view][index]


def objects_together(samples: Sequence[tuple[Any, Target]]) -> tuple[Any, list[Target]]:
    """Make a batch of inputs with objects, of which each image has its own number.

    Parameters
    ----------
    samples : sequence of (Tensor or list of Tensor, Target)
        Pixels of an image, or a map for each level, with its objects.
    """
    inputs, targets = zip(*samples, strict=True)
    if isinstance(inputs[0], Tensor):
        return torch.stack(inputs), list(targets)
    return [torch.stack(level) for level in zip(*inputs, strict=True)], list(targets)


def channels_last(inputs: Any) -> Any:
    """Maps or pixels with their channels side by side in memory.

    Convolutions of few channels on large maps are a fifth quicker so.
    """
    if isinstance(inputs, Tensor):
        return inputs.contiguous(memory_format=torch.channels_last)
    return [channels_last(one) for one in inputs]
