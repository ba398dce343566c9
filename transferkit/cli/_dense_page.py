"""``transferkit evaluate --report`` with models of dense tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.cli._writing import check_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transferkit.annotations import AnnotationSet
    from transferkit.images import Failure, ImageSet
    from transferkit.metrics import TaskReport

__all__ = ["check_page", "model_facts", "write_dense_page"]


def check_page(place: Path) -> None:
    """Raise an error before anything is computed if a page can't be made or written."""
    import importlib.util

    if importlib.util.find_spec("plotly") is None:
        raise ValueError(
            'pages with charts need plotly; install it with: pip install "transferkit[report]"'
        )
    check_file(place)


def model_facts(model: str, estimator: Any) -> dict[str, str]:
    """What the model is, for the top of a page."""
    spec = estimator.extractor_.resolve()
    height, width = estimator.input_size_
    return {
        "task": estimator.task_name,
        "model": Path(model).name or model,
        "backbone": spec.architecture + (" (random weights)" if spec.is_random else ""),
        "features": ", ".join(estimator.extractor_.feature_names),
        "head": estimator.description(),
        "input": f"{height} × {width} px",
    }


def write_dense_page(
    place: Path,
    title: str,
    estimator: Any,
    images: ImageSet,
    truth: AnnotationSet | None,
    counts: Any,
    report: TaskReport,
    *,
    facts: Mapping[str, str],
    failures: Sequence[Failure],
) -> None:
    """Write the page on a measured model.

    Parameters
    ----------
    place : Path
        The file.
    title : str
        Of the page.
    estimator
        That was measured. It predicts again on those images alone that are shown.
    images, truth : ImageSet, AnnotationSet or None
        What it was measured on.
    counts, report
        From its `counted` and `report_of`.
    facts : mapping of str to str
        What stands at the top.
    failures : sequence of Failure
        Images that weren't measured.
    """
    from transferkit.images import content_of, read_rgb
    from transferkit.report.dense_page import dense_page, pictures_for

    pictures = pictures_for(report, counts, estimator.classes_)
    shown = pictures.examples.images
    exif = estimator.extractor_.resolve().preprocess.exif
    # Their maps are in the store by now: only the head runs again.
    maps = estimator.maps(images.select(shown))
    for at, found in estimator.predictions(maps):
        i = shown[at]
        true = None if truth is None or truth.items[i] is None else truth[i]
        pixels = read_rgb(content_of(images.items[i]), exif=exif)
        pictures.add(i, pixels, found, true, images.names[i])
    page = dense_page(title, report, counts, pictures, facts=facts, failures=failures)
    page.write(place)
