"""Find what is likely wrong with boxes, masks and class maps, from these alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import Annotations, AnnotationSet
from transferkit.images import ImageError, ImageSet, size_of
from transferkit.inspection.class_maps import class_pixels, odd_maps
from transferkit.inspection.doubles import doubled_boxes
from transferkit.inspection.findings import Finding, in_order
from transferkit.inspection.masks import holed_masks, leaking_masks
from transferkit.inspection.objects import (
    ImageObjects,
    objects_of,
    odd_boxes,
    odd_numbers,
    rare_classes,
)

__all__ = ["inspect_annotations"]

# What one in twenty objects has is usual.
_USUAL = 0.05


def inspect_annotations(images: ImageSet, annotations: AnnotationSet) -> list[Finding]:
    """Read all annotations once, and find what is likely wrong with them.

    Each image's annotations are looked at and let go; kept are a few numbers for each object.

    Parameters
    ----------
    images : ImageSet
        The images, of which at most the headers are read.
    annotations : AnnotationSet
        One for each of them, in their order; from `transferkit.annotations.read_annotations`.

    Returns
    -------
    list of Finding
        Kind after kind, the surest of each first:

        - ``faulty annotation``: of another size than the image, unreadable, without area,
          beyond the image's edge, or mended otherwise when it was read.
        - ``doubled box``: two objects that share more than 70 % of their union.
        - ``odd box``: a size or aspect that is rare in its class, or a pixel or two wide.
        - ``missing box``: an image without objects, or with far fewer than the others.
        - ``odd number``: an image with far more objects than the others.
        - ``leaking mask``: pixels outside of the object's box, stray parts, holes.
        - ``odd map``: a map that is void, or of one class where nearly all others aren't.
        - ``rare class``: a class of so few objects that it may be a slip of the pen.

    Raises
    ------
    ValueError
        If there are more or fewer images than annotations.

    Examples
    --------
    >>> import numpy as np
    >>> from transferkit.annotations import Annotations
    >>> from transferkit.images import list_images
    >>> boxes = np.array([[1.0, 1, 9, 9], [20, 5, 30, 30], [1, 1, 9, 9]])
    >>> one = Annotations((40, 40), boxes=boxes, labels=np.array([0, 0, 0]))
    >>> images = list_images(np.zeros((1, 40, 40, 3), np.uint8))
    >>> for finding in inspect_annotations(images, AnnotationSet(["cell"], [one])):
    ...     print(finding.kind, finding.reason)
    doubled box two boxes of cell are the same
    """
    if len(images) != len(annotations):
        raise ValueError(
            f"{len(annotations):,} annotations for {len(images):,} images; give one for each"
        )
    classes = annotations.classes
    found: list[Finding] = []
    holed: list[Finding] = []
    objects: list[ImageObjects] = []
    pixels: dict[int, NDArray[np.int64]] = {}
    for i in np.flatnonzero(annotations.is_annotated).tolist():
        try:
            one: Annotations = annotations[i]
        except (ValueError, OSError) as error:
            found.append(Finding("faulty annotation", i, 1.0, str(error)))
            continue
        found += _faults(images, i, one)
        if one.labels is not None:
            found += doubled_boxes(i, one, classes) + leaking_masks(i, one)
            holed += holed_masks(i, one)
            objects.append(objects_of(i, one))
        elif one.map is not None:
            pixels[i] = class_pixels(one, len(classes))
    n_objects = sum(len(one.labels) for one in objects)
    found += holed if len(holed) <= max(1, _USUAL * n_objects) else []
    found += odd_boxes(objects, classes) + odd_numbers(objects) + rare_classes(objects, classes)
    found += odd_maps(pixels, classes) + _without(annotations)
    return in_order(found)


def _faults(images: ImageSet, i: int, one: Annotations) -> list[Finding]:
    """What was mended when the annotations of an image were read, and a size that isn't its own."""
    findings = []
    try:
        size = size_of(images.items[i])
    except (OSError, ImageError):  # it is told elsewhere that it can't be read
        size = one.size
    if tuple(size) not in (tuple(one.size), tuple(one.size[::-1])):
        reason = f"annotated at {one.size[1]} × {one.size[0]} px, and it is {size[1]} × {size[0]}"
        findings.append(Finding("faulty annotation", i, 1.0, reason))
    if one.remarks:
        more = len(one.remarks) - 1
        reason = one.remarks[0] + (f"; and {more:,} more like this" if more else "")
        findings.append(Finding("faulty annotation", i, 0.9, reason))
    return findings


def _without(annotations: AnnotationSet) -> list[Finding]:
    """Images that nobody annotated, where nearly all others were."""
    is_annotated = annotations.is_annotated
    share = float(is_annotated.mean()) if len(is_annotated) else 0.0
    if share < 0.9:
        return []
    reason = f"no annotations were found for it, and {share:.0%} of the images have some"
    missing = np.flatnonzero(~is_annotated).tolist()
    return [Finding("missing box", i, share, reason) for i in missing]
