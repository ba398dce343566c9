"""Pictures of images with what was found on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferkit.annotations import Annotations, AnnotationSet
    from transferkit.images import ImageSet

__all__ = ["draw_all", "draw_one"]


def draw_one(
    folder: Path,
    images: ImageSet,
    index: int,
    annotations: Annotations,
    estimator: Any,
    truth: Annotations | None = None,
) -> None:
    """Write the picture of one image with its annotations, under the image's name.

    Parameters
    ----------
    folder : Path
        Where the pictures are written.
    images : ImageSet
        The images.
    index : int
        Which of them.
    annotations : Annotations
        What was found on it.
    estimator
        That found it.
    truth : Annotations, optional
        What should have been found; it is drawn beside.
    """
    from transferkit.annotations import written_name
    from transferkit.images import content_of, rendered
    from transferkit.report.drawing.overlays import overlay

    preprocess = estimator.extractor_.resolve().preprocess
    pixels = rendered(content_of(images.items[index]), preprocess)
    place = folder / written_name(images.names[index], ".png")
    place.parent.mkdir(parents=True, exist_ok=True)
    overlay(pixels, annotations, estimator.classes_, truth=truth).save(place)


def draw_all(folder: Path, images: ImageSet, truth: AnnotationSet | None, estimator: Any) -> None:
    """Write pictures of images with their truth and what is found, side by side.

    Parameters
    ----------
    folder, images, estimator
        As for `draw_one`.
    truth : AnnotationSet or None
        What should be found on each.
    """
    # Their maps are in the store by now: only the head runs again.
    for i, one in estimator.predictions(estimator.maps(images)):
        true = None if truth is None else truth[i]
        draw_one(folder, images, i, estimator.believed(one), estimator, true)
