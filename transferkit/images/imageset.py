"""`ImageSet` lists images with names, labels and splits; `Failure` is an unreadable one."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from transferkit.images.items import ImageBag, Item, is_in_memory
from transferkit.images.splits import SPLITS, split_of

__all__ = ["Failure", "ImageSet", "Label", "UnreadableImages", "joined"]

_SHOWN_FAILURES = 20

Label = str | None | tuple[str | None, ...]


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images with their names and, where known, labels and splits.

    Parameters
    ----------
    items : tuple of Path, bytes, PIL.Image.Image, ndarray, LazyImage or ImageBag
        Where the images are, or the images themselves; a bag where one item has several.
    names : tuple of str
        What messages and results call them.
    labels : tuple of str, None or tuple; optional
        As the user wrote them, None for an image without; with several label columns one
        tuple per image. None if no image has one.
    splits : tuple of str or None; optional
        ``"train"``, ``"val"``, ``"test"``, or None for an image in none of them. None if
        there are no splits.
    label_names : tuple of str, optional
        Names of the label columns of a CSV, in the order of a label's tuple.
    groups : tuple, optional
        What each image is one of several of (a house, a patient), None for an image that is
        alone: images of one group are never on both sides of a split that is drawn.
    """

    items: tuple[Item, ...]
    names: tuple[str, ...]
    labels: tuple[Label, ...] | None = None
    splits: tuple[str | None, ...] | None = None
    label_names: tuple[str, ...] | None = None
    groups: tuple[Hashable, ...] | None = None

    def __post_init__(self) -> None:
        for what in ("names", "labels", "splits", "groups"):
            values = getattr(self, what)
            if values is not None and len(values) != len(self.items):
                raise ValueError(
                    f"{len(self.items)} items, but {len(values)} {what}; give one of each per image"
                )

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        parts = [f"{len(self):,} images"]
        if self.labels is not None:
            n_classes = len({label for label in self.labels if label is not None})
            parts.append(f"{n_classes:,} different labels")
        counts = Counter(self.splits or ())
        parts += [f"{counts[name]:,} {name}" for name in self.split_names]
        return f"<ImageSet: {', '.join(parts)}>"

    @property
    def split_names(self) -> tuple[str, ...]:
        """Splits that have images, in the order of `SPLITS`."""
        return tuple(name for name in SPLITS if name in (self.splits or ()))

    @property
    def is_in_memory(self) -> bool:
        """Whether any of the images is only in memory, as bytes, a PIL image or an array."""
        return any(map(is_in_memory, self.items))

    @property
    def n_images(self) -> np.ndarray:
        """Number of images of every item: 1, unless it is a bag."""
        return np.array([len(i) if isinstance(i, ImageBag) else 1 for i in self.items], np.intp)

    def singles(self) -> "ImageSet":
        """Return the images of all items one by one, without labels and splits.

        `n_images` tells how many in a row belong to each item.
        """
        items: list[Item] = []
        names: list[str] = []
        for item, name in zip(self.items, self.names, strict=True):
            items += item.items if isinstance(item, ImageBag) else (item,)
            names += item.names if isinstance(item, ImageBag) else (name,)
        return ImageSet(tuple(items), tuple(names))

    def select(self, indices: Iterable[int]) -> "ImageSet":
        """Return the images at these positions, in this order."""
        chosen = [int(i) for i in indices]
        return ImageSet(
            tuple(self.items[i] for i in chosen),
            tuple(self.names[i] for i in chosen),
            None if self.labels is None else tuple(self.labels[i] for i in chosen),
            None if self.splits is None else tuple(self.splits[i] for i in chosen),
            self.label_names,
            None if self.groups is None else tuple(self.groups[i] for i in chosen),
        )

    def split(self, name: str) -> "ImageSet":
        """Return the images of one split, in their order.

        Parameters
        ----------
        name : str
            ``"train"``, ``"val"`` (or ``"valid"``, ``"validation"``) or ``"test"``.

        Raises
        ------
        ValueError
            If no image is in it.
        """
        wanted = split_of(str(name))
        if wanted is None or wanted not in self.split_names:
            present = ", ".join(self.split_names) or "none"
            raise ValueError(
                f"no images in split {name!r}; splits here: {present} (they come from folders "
                f"named {', '.join(SPLITS)} or from a CSV's split column)"
            )
        return self.select(i for i, s in enumerate(self.splits or ()) if s == wanted)


def joined(first: ImageSet, second: ImageSet) -> ImageSet:
    """Return the images of two sets, one after the other, without labels, splits and groups."""
    return ImageSet(first.items + second.items, first.names + second.names)


@dataclass(frozen=True)
class Failure:
    """An image that could not be read: its position, name and the reason."""

    index: int
    name: str
    reason: str


class UnreadableImages(ValueError):
    """Some images could not be read.

    Parameters
    ----------
    failures : sequence of Failure
        Every one of them; the message shows at most 20.
    n_images : int
        Of how many.
    hint : str, default=""
        What may be wrong with all of them.
    """

    def __init__(self, failures: Sequence[Failure], n_images: int, hint: str = "") -> None:
        # All values are in `args`, so that the error survives pickling (joblib's workers).
        super().__init__(failures, n_images, hint)
        self.failures = list(failures)
        self.n_images = n_images
        self.hint = hint

    def __str__(self) -> str:
        shown = "; ".join(f"{f.name} ({f.reason})" for f in self.failures[:_SHOWN_FAILURES])
        if (more := len(self.failures) - _SHOWN_FAILURES) > 0:
            shown += f"; … and {more:,} more (all in .failures)"
        if self.hint:
            shown += f". {self.hint}"
        return f"{len(self.failures):,} of {self.n_images:,} images could not be read: {shown}"
