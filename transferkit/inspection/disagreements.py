"""Ask a saved model about annotated images, and find what it is sure of otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from transferkit.annotations import Annotations, AnnotationSet
from transferkit.datasets import is_unseen
from transferkit.images import ImageSet
from transferkit.inspection.detections import inspect_detections
from transferkit.inspection.findings import Finding

__all__ = ["model_disagreements"]


def model_disagreements(
    model: Any, images: ImageSet, annotations: AnnotationSet
) -> tuple[list[Finding], str]:
    """Compare the annotations of images with the objects that a model finds.

    Parameters
    ----------
    model : ObjectEstimator
        Finds boxes, masks or oriented boxes; of masks and oriented ones the upright boxes are
        compared. On images that it was trained on it repeats their mistakes, and fewer are found.
        Of a weak model many findings are its own mistakes.
    images : ImageSet
        The images. Those that can't be read are passed over.
    annotations : AnnotationSet
        One for each of them, of the model's classes.

    Returns
    -------
    list of Finding
        ``missing box`` and ``box label``, as of `inspect_detections`.
    str
        How many images were compared, and how many of them the model was trained on.

    Raises
    ------
    ValueError
        If the classes aren't the model's.
    """
    if tuple(annotations.classes) != tuple(model.classes_):
        raise ValueError(
            f"the annotations have the classes {', '.join(annotations.classes)}, and the model "
            f"{', '.join(map(str, model.classes_))}; give a model that was trained with the same"
        )
    maps = model.maps(images, "skip")
    kept = maps.extraction.kept.tolist()
    predicted = ((kept[row], one) for row, one in model.predictions(maps))
    findings = inspect_detections(
        _truth(annotations), _at_each(predicted, len(images)), annotations.classes
    )
    trained = [row.tobytes() for row in model.train_ids_]
    n_seen = int(np.count_nonzero(~is_unseen(maps.extraction.ids, trained)))
    told = f"{len(kept):,} images compared with what a {model.task_name} model finds"
    if n_seen:
        told += f"; it was trained on {n_seen:,} of them, where it finds fewer mistakes"
    return findings, told


def _truth(annotations: AnnotationSet) -> Iterator[Annotations | None]:
    """Annotations of each image, and None where there are none that can be read."""
    is_annotated = annotations.is_annotated
    for i in range(len(annotations)):
        try:
            yield annotations[i] if is_annotated[i] else None
        except (ValueError, OSError):  # the finding of a faulty annotation says why
            yield None


def _at_each(predicted: Iterator[tuple[int, Annotations]], n: int) -> Iterator[Annotations | None]:
    """Spread predictions, which come in the images' order, over all images."""
    at, one = next(predicted, (n, None))
    for i in range(n):
        if i < at:
            yield None
            continue
        yield one
        at, one = next(predicted, (n, None))
