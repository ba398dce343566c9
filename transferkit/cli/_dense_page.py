"""``transferkit evaluate --report`` with models of dense tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferkit.annotations import AnnotationSet
    from transferkit.images import Failure, ImageSet
    from transferkit.metrics import TaskReport

__all__ = ["DenseMeasurement", "write_dense_page"]


@dataclass(frozen=True, eq=False)
class DenseMeasurement:
    """What a model was measured on, and what came out.

    Parameters
    ----------
    images : ImageSet
        That were measured.
    truth : AnnotationSet or None
        Their annotations, if there are any.
    counts
        What the estimator's `counted` gave.
    report : TaskReport
        Made of them.
    failures : sequence of Failure
        Images that could not be measured.
    part : str or None
        Name of the part that was measured; None if there are no parts.
    n_left_out : int
        Images that the model was trained on.
    """

    images: ImageSet
    truth: AnnotationSet | None
    counts: Any
    report: TaskReport
    failures: Sequence[Failure]
    part: str | None
    n_left_out: int


def write_dense_page(
    place: Path, model: str, source: str, estimator: Any, measured: DenseMeasurement
) -> None:
    """Write the page on a measured model.

    Parameters
    ----------
    place : Path
        The file.
    model, source : str
        MODEL and IMAGES as the user gave them; of paths only the last part is told.
    estimator
        That was measured. It predicts again on those images alone that are shown.
    measured : DenseMeasurement
        What it was measured on.
    """
    from transferkit.artifacts import describe
    from transferkit.images import content_of, rendered
    from transferkit.report.dense.page import dense_page, pictures_for

    images, truth = measured.images, measured.truth
    pictures = pictures_for(measured.report, measured.counts, estimator.classes_)
    shown = pictures.examples.images
    preprocess = estimator.extractor_.resolve().preprocess
    # Their maps are in the store by now: only the head runs again.
    for at, found in estimator.predictions(estimator.maps(images.select(shown))) if shown else ():
        i = shown[at]
        true = None if truth is None or truth.items[i] is None else truth[i]
        pixels = rendered(content_of(images.items[i]), preprocess)
        pictures.add(i, pixels, found, true, images.names[i])
    page = dense_page(
        f"{estimator.task_name.capitalize()}: {Path(source).name or source}",
        measured.report,
        measured.counts,
        pictures,
        facts=_facts(model, estimator, measured),
        content=describe(model),
        failures=measured.failures,
    )
    page.write(place)


def _facts(model: str, estimator: Any, measured: DenseMeasurement) -> dict[str, str]:
    """What was measured, for the top of a page."""
    spec = estimator.extractor_.resolve()
    height, width = estimator.input_size_
    facts = {} if measured.part is None else {"measured on": measured.part}
    if measured.n_left_out:
        facts["left out, as trained on"] = f"{measured.n_left_out:,}"
    return {
        **facts,
        "model": Path(model).name or model,
        "backbone": spec.architecture + (" (random weights)" if spec.is_random else ""),
        "features": ", ".join(estimator.extractor_.feature_names),
        "head": estimator.description(),
        "input": f"{height} × {width} px",
    }
