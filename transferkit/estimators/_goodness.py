"""Which images are good: told by folders, labels, numbers or annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import VOID, Annotations, AnnotationSet
from transferkit.images import ImageSet

__all__ = ["CLASSES", "GOOD", "are_anomalous", "told"]

CLASSES = ("good", "anomalous")
"""Classes of pixels and of images, by number."""
GOOD = frozenset(("good", "normal", "ok"))
"""Labels that call an image good, in any case."""


def told(images: ImageSet, y: Any) -> ImageSet:
    """Label images as good or anomalous.

    Parameters
    ----------
    images : ImageSet
        Which.
    y : sequence of str, bool or int; None
        For each image a label (one of `GOOD`, or what is wrong with it), or 0 for good and 1
        for anomalous. None leaves the images' own labels.

    Raises
    ------
    ValueError
        If there isn't one for each image, or a number is neither 0 nor 1.
    """
    if y is None:
        return images
    values = list(np.asarray(y).tolist())
    if len(values) != len(images):
        raise ValueError(f"y tells of {len(values):,} images of {len(images):,}; give one for each")
    for value in values:
        if not isinstance(value, str) and value not in (0, 1):
            raise ValueError(
                f"y holds {value!r}; give labels such as 'good', or 0 for good and 1 for anomalous"
            )
    labels = (value if isinstance(value, str) else CLASSES[int(value)] for value in values)
    return replace(images, labels=tuple(labels))


def are_anomalous(images: ImageSet, annotations: AnnotationSet | None) -> NDArray[np.bool_]:
    """Tell whether each image is anomalous.

    Labels tell it if one of them calls an image good, or all are ``anomalous``; then
    annotations. Images without either are all good.

    Parameters
    ----------
    images : ImageSet
        Which.
    annotations : AnnotationSet or None
        Theirs; an image without counts as good.

    Raises
    ------
    ValueError
        If there are labels that don't tell it, and no annotations.
    """
    labels: Sequence[Any] = images.labels or [None] * len(images)
    named = {label.casefold() for label in labels if isinstance(label, str)}
    if named & GOOD or named == {CLASSES[1]}:
        return np.array(
            [label is not None and str(label).casefold() not in GOOD for label in labels], bool
        )
    if annotations is not None and annotations.is_annotated.any():
        known = annotations.is_annotated.tolist()
        return np.array([k and _is_anomalous(annotations[i]) for i, k in enumerate(known)], bool)
    if named:
        shown = ", ".join(repr(name) for name in sorted(named)[:5])
        raise ValueError(
            f"the images' labels are {shown}, and none of them says which are good; call the "
            "folder of the good ones 'good', or give y, 0 for good and 1 for anomalous"
        )
    return np.zeros(len(images), bool)


def _is_anomalous(one: Annotations) -> bool:
    if one.score is not None:
        return bool(one.score)
    return one.map is not None and bool(((one.map != 0) & (one.map != VOID)).any())
