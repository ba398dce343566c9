"""Check annotations against their images, and name everything that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferkit.annotations._annotations import Annotations, AnnotationSet
from transferkit.images import Failure, ImageError, ImageSet, size_of

__all__ = ["FaultyAnnotations", "annotation_faults", "annotation_remarks", "inspected"]

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
    annotations: AnnotationSet,
    images: ImageSet | Any = None,
    *,
    exif: bool = False,
    needs: str | None = None,
) -> list[Failure]:
    """Read all annotations once and find those that can't be used.

    Parameters
    ----------
    annotations, images, exif, needs
        As for `inspected`.

    Returns
    -------
    list of Failure
        The first part of what `inspected` returns.
    """
    return inspected(annotations, images, exif=exif, needs=needs)[0]


def annotation_remarks(annotations: AnnotationSet) -> list[Failure]:
    """Read all annotations once and tell what was mended or left out.

    Parameters
    ----------
    annotations : AnnotationSet
        One per image.

    Returns
    -------
    list of Failure
        One for each of an image's `remarks`.
    """
    return inspected(annotations)[1]


def inspected(
    annotations: AnnotationSet,
    images: ImageSet | Any = None,
    *,
    exif: bool = False,
    needs: str | None = None,
) -> tuple[list[Failure], list[Failure]]:
    """Read all annotations once; find those that can't be used, and what was mended in others.

    Parameters
    ----------
    annotations : AnnotationSet
        One per image.
    images : ImageSet, or array of shape (n, 2); optional
        The images, of which the headers are read, or their heights and widths. A size of 0 or
        below isn't compared. Without it only the annotations themselves are looked at.
    exif : bool, default=False
        Whether the images' EXIF orientation counts.
    needs : {"map", "boxes", "masks", "oriented"}, optional
        What every image's annotations have to hold.

    Returns
    -------
    faults : list of Failure
        By position: images without annotations, with such of another size, and with such that
        can't be read or lack what is needed. An image that can't be read itself isn't named here.
    remarks : list of Failure
        One for each of an image's `remarks`.

    Raises
    ------
    ValueError
        If there are more or fewer images than annotations.
    """
    if images is not None and len(images) != len(annotations):
        raise ValueError(
            f"{len(annotations):,} annotations for {len(images):,} images; give one for each"
        )
    faults, remarks = [], []
    for i, name in enumerate(annotations.names):
        one = _read(annotations, i)
        reason = one if isinstance(one, str) else _fault(one, images, i, exif, needs)
        if reason is not None:
            faults.append(Failure(i, name, reason))
        elif isinstance(one, Annotations):
            remarks += [Failure(i, name, remark) for remark in one.remarks]
    return faults, remarks


def _read(annotations: AnnotationSet, i: int) -> Annotations | str:
    """Annotations of an image, or why there are none."""
    if annotations.items[i] is None:
        return "no annotations were found for it"
    try:
        one: Annotations = annotations[i]
    except (ValueError, OSError) as error:
        return str(error)
    return one


_LACKS = {
    "boxes": "it has no boxes; give annotations of objects, such as VOC, YOLO or COCO files",
    "masks": "it has no masks of its objects; give instance PNGs, or COCO or YOLO with polygons",
    "oriented": "it has no oriented boxes; give DOTA, YOLO-OBB, roLabelImg, CVAT or COCO files",
    "map": "it has no class per pixel; give masks, or COCO with polygons or run lengths",
}


_UPRIGHT = (
    "it has no oriented boxes, and an upright one has no angle; give DOTA, YOLO-OBB, roLabelImg, "
    "CVAT or COCO files with oriented boxes, or take the angle as 0: 'transferkit annotations "
    "convert … --to dota --upright'"
)


def _fault(one: Annotations, images: Any, i: int, exif: bool, needs: str | None) -> str | None:
    if needs == "oriented" and one.oriented is None and one.boxes is not None:
        return _UPRIGHT
    if needs in _LACKS and (getattr(one, needs) is None or (needs != "map" and one.labels is None)):
        return _LACKS[needs]
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
