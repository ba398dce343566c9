"""``evaluate --report`` of models that predict classes, several labels or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._output import printable, size_of

if TYPE_CHECKING:
    from transferkit.datasets import Dataset
    from transferkit.images import Failure
    from transferkit.metrics import TaskReport
    from transferkit.report.model.judged_images import JudgedImages

__all__ = ["check_report", "write_report"]


def check_report(page: Path, mapping: str) -> None:
    """Raise an error before anything is computed if the page can't be drawn or written."""
    from transferkit.report.model.feature_map import check_mapping
    from transferkit.report.page import check_page

    check_page(page)
    try:
        check_mapping(mapping)
    except ImportError as error:
        raise ValueError(str(error)) from error


def write_report(
    page: Path,
    model: str,
    estimator: Any,
    data: Dataset,
    report: TaskReport,
    *,
    part: str | None,
    n_left_out: int,
    failures: Sequence[Failure],
    mapping: str,
) -> None:
    """Write the page of a model that was measured, and say where it is."""
    from transferkit.artifacts import describe
    from transferkit.estimators.measuring import predictions_of
    from transferkit.report.model.judged_images import JudgedImages
    from transferkit.report.model.page import model_page

    assert data.images is not None
    preprocess = estimator.extractor_.resolve().preprocess
    found = predictions_of(estimator, data)
    measured = JudgedImages(data.images, data.X, found, report, preprocess.exif, preprocess)
    made = model_page(
        measured,
        describe(model),
        title=Path(model).resolve().name or model,
        part=part,
        n_left_out=n_left_out,
        failures=failures,
        mapping=mapping,
        activations=_activations(estimator, measured),
    )
    made.write(page)
    click.echo(f"page: {printable(str(page))} ({size_of(page.stat().st_size)})", err=True)


def _activations(estimator: Any, measured: JudgedImages) -> Any:
    """Class-activation maps of the images that show them, or why there are none."""
    from transferkit.estimators import NoActivationMaps, class_activation_maps
    from transferkit.images import UnreadableImages
    from transferkit.report.model.page import looked_at

    pairs = [(case.image, j) for case in looked_at(measured) for j in case.outputs]
    names = estimator.output_names_.tolist()
    images = measured.images.select(i for i, _ in pairs)
    try:
        return class_activation_maps(estimator, images, [names[j] for _, j in pairs])
    except (NoActivationMaps, UnreadableImages) as error:
        return f"There are no class-activation maps of this model: {error}."
