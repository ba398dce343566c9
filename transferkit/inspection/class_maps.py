"""Find maps of classes that are void, or hold a single class where others don't."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import Annotations
from transferkit.inspection.findings import Finding

__all__ = ["class_pixels", "odd_maps"]

# Something is odd if no more than this share of the images is so, of so many at least.
_FEW, _ENOUGH = 0.1, 20
# A class in no more images than this is rare.
_RARE = 2


def class_pixels(annotations: Annotations, n_classes: int) -> NDArray[np.int64]:
    """Pixels of each class in an image; void ones don't count.

    Parameters
    ----------
    annotations : Annotations
        With a map.
    n_classes : int
        Of the data set.
    """
    assert annotations.map is not None
    known = annotations.map[annotations.map >= 0].astype(np.int64)
    return np.bincount(known.ravel(), minlength=n_classes)


def odd_maps(pixels: Mapping[int, NDArray[np.int64]], classes: Sequence[str]) -> list[Finding]:
    """Images that are void or of one class, where nearly all others aren't; and rare classes.

    Parameters
    ----------
    pixels : mapping of int to ndarray of shape (n_classes,)
        From `class_pixels`, by position of the image.
    classes : sequence of str
        Names of the classes, by number.
    """
    if not pixels:
        return []
    images = list(pixels)
    counts = np.stack(list(pixels.values()))
    n_held = (counts > 0).sum(axis=1)
    findings = [
        Finding("odd map", images[at], 1.0, "every pixel is void: nothing of it can be learnt")
        for at in np.flatnonzero(n_held == 0).tolist()
    ]
    if len(images) < _ENOUGH:
        return findings
    share = float((n_held == 1).mean())
    if share <= _FEW:
        for at in np.flatnonzero(n_held == 1).tolist():
            name = classes[int(counts[at].argmax())]
            reason = f"all of it is {name}, and {1 - share:.0%} of the images have several classes"
            findings.append(Finding("odd map", images[at], 1 - share, reason))
    n_images = (counts > 0).sum(axis=0)
    for label in np.flatnonzero((n_images > 0) & (n_images <= _RARE)).tolist():
        at = int((counts[:, label] > 0).argmax())
        reason = f"{classes[label]} stands in {n_images[label]} of {len(images):,} images"
        findings.append(
            Finding("rare class", images[at], 1 - n_images[label] / len(images), reason)
        )
    return findings
