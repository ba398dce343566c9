"""`JudgedImages`: images with their features, what they are and what a model says of them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from transferkit.images import Content, ImageSet, Item
    from transferkit.metrics import Predictions, TaskReport

__all__ = ["JudgedImages", "picture_of"]


@dataclass(frozen=True, eq=False)
class JudgedImages:
    """Images that a model was measured on.

    Parameters
    ----------
    images : ImageSet
        Which; all of them could be read.
    X : ndarray of shape (n_samples, n_features)
        Their features.
    found : Predictions
        What they are, and what the model says.
    report : TaskReport
        What was measured.
    exif : bool, default=False
        Whether the images' EXIF orientation is applied.
    """

    images: ImageSet
    X: NDArray[Any]
    found: Predictions
    report: TaskReport
    exif: bool = False

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, labels or targets, as text."""
        return tuple(map(str, self.found.classes))

    def true_text(self, i: int) -> str:
        """What an image is, in words."""
        return self._text(self.found.y_true[i])

    def predicted_text(self, i: int) -> str:
        """What the model says of an image, in words."""
        return self._text(self.found.y_pred[i])

    def _text(self, value: Any) -> str:
        if self.found.task == "classification":
            return self.labels[int(value)]
        if self.found.task == "multilabel":
            return ", ".join(self.labels[j] for j in np.flatnonzero(value)) or "none"
        numbers = [f"{number:.4g}" for number in np.atleast_1d(value).tolist()]
        if len(numbers) == 1:
            return numbers[0]
        return ", ".join(f"{name} {n}" for name, n in zip(self.labels, numbers, strict=True))

    def picture(self, i: int, side: int) -> Image.Image | None:
        """An image, not much smaller than a square; None if it can't be read any more."""
        return picture_of(self.images.items[i], side, exif=self.exif)


def picture_of(item: Item, side: int, *, exif: bool = False) -> Image.Image | None:
    """Decode an image to be shown small.

    Parameters
    ----------
    item : Path, bytes, PIL.Image.Image, ndarray, LazyImage or ImageBag
        The image; of several the first.
    side : int
        Of the square in which it will be shown, px. A large JPEG is decoded at a fraction of its
        size, twice this or more.
    exif : bool, default=False
        Whether the EXIF orientation is applied.

    Returns
    -------
    PIL.Image.Image or None
        RGB; None if the image can't be read.
    """
    from transferkit.images import ImageBag, ImageError, content_of, read_rgb

    single = item.items[0] if isinstance(item, ImageBag) else item
    try:
        return read_rgb(_drafted(content_of(single), side), exif=exif)
    except (OSError, ImageError):
        return None


def _drafted(content: Content, side: int) -> Content:
    """A JPEG as an image that will be decoded at a fraction; anything else as it is."""
    if not (isinstance(content, bytes) and content.startswith(b"\xff\xd8")):
        return content
    try:
        image = Image.open(io.BytesIO(content), formats=("JPEG",))
    except Exception:  # `read_rgb` says what is wrong with it
        return content
    image.draft("RGB", (2 * side, 2 * side))
    return image
