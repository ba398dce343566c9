"""Check annotations against their images, and name everything that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferkit.annotations._annotations import Annotations, AnnotationSet
from transferkit.images import Failure, ImageError, ImageSet, size_of

__all__ = ["FaultyAnnotations", "annotation_faults"]

_SHOWN_FAULTS = 20


class FaultyAnnotations(ValueError):
    """The annotations of some images can't be used.

    Parameters
    ----------
    failures : sequence of Failure
        Every one of them; the message shows at most 20.
    n_images : int
        Of how many.
    """

    def __init__(self, failures: Sequence[Failure], n_images: int) -> None:
        # All values are in `args`, so that the error survives pickling.
        super().__init__(failures, n_images)
        self.failures = list(failures)
        self.n_images = n_images

    def __str__(self) -> str:
        shown = "; ".join(f"{f.name} ({f.reason})" for f in self.failures[:_SHOWN_FAULTS])
        if (more := len(self.failures) - _SHOWN_FAULTS) > 0:
            shown += f"; … and {more:,} more (all in .failures)"
        return (
            f"the annotations of {len(self.failures):,} of {self.n_images:,} images can't be "
            f"used: {shown}"
        )


def annotation_faults(
    annotations: AnnotationSet, images: ImageSet | Any = None, *, exif: bool = False
) -> list[Failure]:
    """Read all annotations once and find those that can't be used.

    Parameters
    ----------
    annotations : AnnotationSet
        One per image.
    images : ImageSet, or array of shape (n, 2); optional
        The images, of which the headers are read, or their heights and widths. A size of 0 or
        below isn't compared. Without it only the annotations themselves are looked at.
    exif : bool, default=False
        Whether the images' EXIF orientation counts.

    Returns
    -------
    list of Failure
        By position: images without annotations, with such of another size, and with such that
        can't be read. An image that can't be read itself isn't named here.

    Raises
    ------
    ValueError
        If there are more or fewer images than annotations.
    """
    if images is not None and len(images) != len(annotations):
        raise ValueError(
            f"{len(annotations):,} annotations for {len(images):,} images; give one for each"
        )
    faults = []
    for i, name in enumerate(annotations.names):
        if (reason := _fault(annotations, images, i, exif)) is not None:
            faults.append(Failure(i, name, reason))
    return faults


def _fault(annotations: AnnotationSet, images: Any, i: int, exif: bool) -> str | None:
    if annotations.items[i] is None:
        return "no annotations were found for it"
    try:
        one: Annotations = annotations[i]
    except (ValueError, OSError) as error:
        return str(error)
    if isinstance(images, ImageSet):
        try:
            size = size_of(images.items[i], exif=exif)
        except (OSError, ImageError):
            return None
    elif images is not None:
        height, width = np.asarray(images[i])
        size = (int(height), int(width))
    else:
        return None
    if min(size) > 0 and size != tuple(one.size):
        return (
            f"the annotations are of {one.size[0]} × {one.size[1]} px, and the image is "
            f"{size[0]} × {size[1]}"
        )
    return None
