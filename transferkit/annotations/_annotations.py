"""`Annotations` of one image, true or predicted, and `AnnotationSet`, those of many."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations._masks import Masks, nearest_pixels
from transferkit.images import Frame

__all__ = ["VOID", "AnnotationSet", "Annotations"]

VOID = -1
"""Class of a pixel of which nothing is known; it is neither learnt nor measured."""

# The fields that have one value per object.
_OF_OBJECTS = ("boxes", "oriented", "masks", "labels", "scores", "ignored")


@dataclass(frozen=True, eq=False)
class Annotations:
    """What stands in one image, in its px. Truth and predictions have the same form.

    A task fills the fields that it speaks of; the others are None.

    Parameters
    ----------
    size : (int, int)
        The image's height and width, px.
    map : ndarray of int, shape (height, width), optional
        Class of every pixel, or `VOID`.
    boxes : ndarray of float, shape (m, 4), optional
        Left, top, right and bottom edge of each object, px; see `transferkit.images.frames`.
    masks : Masks, or ndarray of bool, shape (m, height, width), optional
        Pixels of each object; an array becomes `Masks`.
    labels : ndarray of int, shape (m,), optional
        Class of each object.
    scores : ndarray of float, shape (m,), optional
        Confidence of each object, of a prediction.
    ignored : ndarray of bool, shape (m,), optional
        Objects that count neither way: crowds, and those that are too difficult. They aren't
        learnt, and who finds one has neither hit nor missed. None if there are none.
    score : float, optional
        The image's own score: of an anomaly, the larger the stranger.
    score_map : ndarray of float, shape (height, width), optional
        Score of every pixel.
    remarks : tuple of str, default=()
        What was wrong in the file and was mended or left out, a sentence each.
    oriented : ndarray of float, shape (m, 5), optional
        Oriented box of each object: centre x and y, longer and shorter side, px, and the angle
        in degrees, counter-clockwise; see `transferkit.images.oriented`.

    Raises
    ------
    ValueError
        If a field's shape doesn't fit the image, or the number of objects.

    Examples
    --------
    >>> import numpy as np
    >>> from transferkit.images import Frame
    >>> one = Annotations((2, 4), map=np.array([[0, 0, 1, 1], [0, 0, 1, 1]]))
    >>> one.moved(Frame((0.5, 1), (0, 0)), (2, 3)).map.tolist()
    [[0, 1, -1], [0, 1, -1]]
    """

    size: tuple[int, int]
    map: NDArray[Any] | None = None
    boxes: NDArray[Any] | None = None
    masks: Masks | None = None
    labels: NDArray[Any] | None = None
    scores: NDArray[Any] | None = None
    ignored: NDArray[Any] | None = None
    score: float | None = None
    score_map: NDArray[Any] | None = None
    remarks: tuple[str, ...] = ()
    oriented: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        masks: Any = self.masks
        if masks is not None and not isinstance(masks, Masks):
            object.__setattr__(self, "masks", Masks.of_array(masks))
        for name in ("map", "score_map"):
            values = getattr(self, name)
            if values is not None and values.shape != tuple(self.size):
                raise ValueError(
                    f"{name} has shape {values.shape}, but the image is {self.size[0]} × "
                    f"{self.size[1]} px; give one value per pixel"
                )
        lengths = {
            name: len(getattr(self, name))
            for name in _OF_OBJECTS
            if getattr(self, name) is not None
        }
        if len(set(lengths.values())) > 1:
            raise ValueError(f"objects are told of in different numbers: {lengths}; give one each")
        if self.boxes is not None and self.boxes.shape != (len(self.boxes), 4):
            raise ValueError(f"boxes have shape {self.boxes.shape}; give (m, 4)")
        if self.oriented is not None and self.oriented.shape != (len(self.oriented), 5):
            raise ValueError(f"oriented boxes have shape {self.oriented.shape}; give (m, 5)")
        if self.masks is not None and self.masks.size != tuple(self.size):
            raise ValueError(
                f"masks have shape {self.masks.shape}; give (m, {self.size[0]}, {self.size[1]})"
            )

    def select(self, objects: Any) -> Annotations:
        """Return the annotations of some of the objects.

        Parameters
        ----------
        objects : array of int, or of bool
            Which, in the order wanted.
        """
        chosen = {
            name: getattr(self, name)[objects]
            for name in _OF_OBJECTS
            if getattr(self, name) is not None
        }
        return dataclasses.replace(self, **chosen)

    def moved(self, frame: Frame, size: tuple[int, int]) -> Annotations:
        """Return the annotations of the network's input, from those of the image.

        Maps and masks take the value of the nearest pixel. What lies outside of the image is
        `VOID`, and in no mask. Boxes may leave the input; they aren't cut off.

        Parameters
        ----------
        frame : Frame
            From the image's px to the input's.
        size : (int, int)
            Height and width of the input, px.
        """
        rows, columns, is_inside = nearest_pixels(frame, self.size, size)
        at = np.ix_(rows, columns)
        changed: dict[str, Any] = {"size": tuple(size)}
        for name, outside in (("map", VOID), ("score_map", 0)):
            values = getattr(self, name)
            if values is not None:
                values = values.T if frame.is_transposed else values
                changed[name] = np.where(is_inside, values[at], outside)
        if self.masks is not None:
            changed["masks"] = self.masks.moved(frame, size)
        if self.boxes is not None:
            changed["boxes"] = frame.forward_boxes(self.boxes)
        if self.oriented is not None:
            changed["oriented"] = frame.forward_oriented(self.oriented)
        return dataclasses.replace(self, **changed)


class AnnotationSet(Sequence[Annotations]):
    """Annotations of many images, each read from its file when it is asked for.

    Parameters
    ----------
    classes : sequence of str
        Names of the classes, by number.
    items : sequence
        What `read` makes the annotations of; None for an image that has none.
    read : callable
        From an item to its `Annotations`. It raises a ValueError that says what is wrong.
    names : sequence of str, optional
        What messages call them: files, as a rule.
    splits : sequence of str or None, optional
        The split of each, where the files that they stand in are called so.

    Examples
    --------
    >>> import numpy as np
    >>> maps = [np.zeros((2, 2), int), np.ones((2, 2), int)]
    >>> found = AnnotationSet(["sky", "sea"], maps, lambda m: Annotations(m.shape, map=m))
    >>> len(found), found[1].map.max(), len(found.select([1]))
    (2, np.int64(1), 1)
    """

    def __init__(
        self,
        classes: Sequence[str],
        items: Sequence[Any],
        read: Callable[[Any], Annotations] = lambda item: item,
        names: Sequence[str] | None = None,
        splits: Sequence[str | None] | None = None,
    ) -> None:
        self.classes = tuple(classes)
        self.items = tuple(items)
        self.read = read
        self.names = tuple(names) if names is not None else tuple(map(str, range(len(items))))
        self.splits = None if splits is None else tuple(splits)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        if self.items[index] is None:
            raise ValueError(f"{self.names[index]!r} has no annotations")
        return self.read(self.items[index])

    def __iter__(self) -> Iterator[Annotations]:
        return (self[i] for i in range(len(self)))

    @property
    def is_annotated(self) -> NDArray[np.bool_]:
        """Whether each image has annotations."""
        return np.array([item is not None for item in self.items], dtype=bool)

    def select(self, indices: Iterable[int]) -> AnnotationSet:
        """Return the annotations at these positions, in this order."""
        chosen = [int(i) for i in indices]
        return AnnotationSet(
            self.classes,
            [self.items[i] for i in chosen],
            self.read,
            [self.names[i] for i in chosen],
            None if self.splits is None else [self.splits[i] for i in chosen],
        )

    def joined(self, other: AnnotationSet) -> AnnotationSet:
        """Return these annotations, and then those of another set with the same classes.

        Raises
        ------
        ValueError
            If its classes are others.
        """
        if other.classes != self.classes:
            raise ValueError(
                f"annotations of classes {', '.join(self.classes)} and of "
                f"{', '.join(other.classes)} can't be joined; give both the same class table"
            )
        places = [
            None if item is None else (part, i)
            for part in (self, other)
            for i, item in enumerate(part.items)
        ]
        names = [*self.names, *other.names]
        return AnnotationSet(self.classes, places, lambda place: place[0][place[1]], names)
