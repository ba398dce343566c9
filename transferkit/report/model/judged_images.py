"""`JudgedImages`: images with their features, what they are and what a model says of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.report.thumbnails import picture_of

if TYPE_CHECKING:
    from transferkit.images import ImageSet
    from transferkit.metrics import Predictions, TaskReport
    from transferkit.spec import Preprocess

__all__ = ["JudgedImages"]


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
    preprocess : Preprocess, optional
        Of the backbone, by which images that aren't 8-bit RGB are shown.
    """

    images: ImageSet
    X: NDArray[Any]
    found: Predictions
    report: TaskReport
    exif: bool = False
    preprocess: Preprocess | None = None

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
        return picture_of(self.images.items[i], side, exif=self.exif, preprocess=self.preprocess)
