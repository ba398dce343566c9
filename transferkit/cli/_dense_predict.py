"""``transferkit predict`` and ``transferkit evaluate`` with models of dense tasks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from transferkit.cli._dense import FINDING, TRAINED, annotated_images
from transferkit.cli._dense_page import DenseMeasurement, write_dense_page
from transferkit.cli._options import (
    estimator_from,
    exit_code,
    extraction_mode,
    images_from,
    report_failures,
)
from transferkit.cli._output import counted, print_json, printable, size_of
from transferkit.cli._pictures import draw_all, draw_one
from transferkit.cli._writing import check_file, form_of, write_lines
from transferkit.tasks import dense
from transferkit.tasks.dense import DenseTask, dense_task_of

if TYPE_CHECKING:
    from transferkit.annotations import Annotations, AnnotationSet
    from transferkit.images import ImageSet

__all__ = ["ANNOTATION_FORMS", "LINES", "evaluate_dense", "forms_of_tasks", "predict_dense"]

LINES = ("csv", "jsonl", "parquet")
"""Forms of one line for each image, of any task."""
ANNOTATION_FORMS = tuple(
    dict.fromkeys(
        form for name in dense.names() for form in dense_task_of(name).forms if form not in LINES
    )
)
"""Forms that only predictions of pixels or objects have."""
# Forms of one file per image, and what other files end with.
_FOLDERS = ("masks", "instances", "voc", "yolo", "dota")
_ENDINGS = {".json": "coco", ".xml": "cvat"}


def forms_of_tasks() -> str:
    """The annotation forms of each dense task, for the help."""
    return "; ".join(f"{', '.join(dense_task_of(name).forms)} of {name}" for name in dense.names())


def predict_dense(
    ctx: click.Context,
    model: str,
    images: str,
    *,
    form: str | None,
    out: Path | None,
    overlays: Path | None,
    threshold: float | None,
    tiles: str | None,
    on_error: str,
    options: dict[str, Any],
) -> NoReturn:
    """Annotate images, write the annotations and pictures of them, and exit."""
    from transferkit.artifacts import task_of

    task = dense_task_of(task_of(model))
    form = _checked_form(form, out, task)
    if threshold is not None and not task.has_objects:
        raise click.UsageError(f"--threshold is for {FINDING}; this model predicts {task.name}")
    listed = images_from(images, options, is_annotated=True)
    estimator = estimator_from(model, options)
    if threshold is not None:
        estimator.threshold_ = threshold
    _set_tiles(estimator, tiles)
    maps = estimator.maps(listed, extraction_mode(on_error))
    kept = maps.extraction.kept.tolist()
    lines = [{"path": name, **estimator.line(None), "error": ""} for name in listed.names]
    for failure in maps.extraction.failures:
        lines[failure.index]["error"] = failure.reason
    predicted = _predicted(estimator, maps, listed, lines, overlays)
    if form in task.forms:
        _write(out, [listed.names[i] for i in kept], predicted, estimator.classes_, form)
    else:
        for _ in predicted:
            pass
        # A table has no place for a list of boxes; that of boxes is the form csv.
        rest = {"boxes"} if form != "jsonl" else set()
        write_lines(out, [{k: v for k, v in one.items() if k not in rest} for one in lines], form)
    if out is not None:
        done = f"{len(kept):,} of {counted(len(listed), 'image')}"
        click.echo(f"{done} predicted: {printable(str(out))}", err=True)
    if overlays is not None:
        click.echo(f"pictures: {printable(str(overlays))}", err=True)
    report_failures(maps.extraction.failures, len(listed))
    ctx.exit(exit_code(maps.extraction.failures, on_error))


def _predicted(
    estimator: Any,
    maps: Any,
    images: ImageSet,
    lines: list[dict[str, Any]],
    overlays: Path | None,
) -> Iterator[Annotations]:
    """What is believed of each image that could be read; told in its line, and drawn if wanted."""
    kept = maps.extraction.kept.tolist()
    for row, one in estimator.predictions(maps):
        lines[kept[row]] |= estimator.line(one)
        one = estimator.believed(one)
        if overlays is not None:
            draw_one(overlays, images, kept[row], one, estimator)
        yield one


def _write(
    out: Path | None, names: list[str], found: Iterator[Annotations], classes: Any, form: str
) -> None:
    """Write annotations to a place, or to stdout."""
    from transferkit.annotations import write_annotations

    if out is not None:
        write_annotations(out, names, found, classes, form=form)
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "annotations"
        write_annotations(place, names, found, classes, form=form)
        # Bytes, because stdout's own encoding may not have all characters of the names.
        click.echo(place.read_bytes(), nl=False)


def _set_tiles(estimator: Any, tiles: str | None) -> None:
    """Cut images into other tiles than the model does, if the user says so."""
    if tiles is None:
        return
    if not dense_task_of(estimator.task_name).has_network:
        raise click.UsageError(
            f"--tiles is for {TRAINED}; this model predicts {estimator.task_name}"
        )
    estimator.tiles = None if tiles == "none" else tiles


def _checked_form(form: str | None, out: Path | None, task: DenseTask) -> str:
    """Form of the result, and an error now if it can't be written."""
    if form is None and out is not None and not out.suffix:
        form = next(one for one in task.forms if one in _FOLDERS)
    if form is None and out is not None:
        form = _ENDINGS.get(out.suffix.lower())
    if form in ANNOTATION_FORMS and form not in task.forms:
        allowed = ", ".join(dict.fromkeys([*task.forms, *LINES]))
        raise click.UsageError(f"--format {form} isn't for {task.name}; choose one of {allowed}")
    if form not in ANNOTATION_FORMS:
        form = form_of(form, out)
        if out is not None:
            check_file(out)
        return form
    if out is None:
        ending = next((end for end, one in _ENDINGS.items() if one == form), "")
        place = "FOLDER" if form in _FOLDERS else f"FILE{ending}"
        raise click.UsageError(f"--format {form} needs a place: give --out {place}")
    return form


def evaluate_dense(
    ctx: click.Context,
    model: str,
    images: str,
    task: str,
    *,
    use_all: bool,
    out: Path | None,
    overlays: Path | None,
    plot: Path | None,
    tiles: str | None,
    on_error: str,
    as_json: bool,
    options: dict[str, Any],
    page: Path | None = None,
) -> NoReturn:
    """Measure a model on annotated images, and exit."""
    from transferkit.datasets import is_unseen
    from transferkit.report.text import report_lines

    _check_places(task, out, plot, page)
    estimator = estimator_from(model, options)
    _set_tiles(estimator, tiles)
    listed, found, part = _to_measure(images, estimator, use_all, options)
    usable = estimator.usable(listed, found, extraction_mode(on_error))
    trained = [row.tobytes() for row in estimator.train_ids_]
    unseen = is_unseen(usable.ids, [] if use_all else trained)
    if not unseen.any():
        raise ValueError(
            "the model was trained on every one of these images, so they can't tell how good it "
            "is; give others, or --all to measure on them all the same"
        )
    measured, truth = usable.select(unseen.nonzero()[0])
    counts = estimator.counted(measured, truth)
    report = estimator.report_of(counts)
    if overlays is not None:
        draw_all(overlays, measured, truth, estimator)
    if plot is not None:
        from transferkit.report.plots import draw_precision

        draw_precision(report, plot)
    n_left_out = int((~unseen).sum())
    if page is not None:
        found_out = DenseMeasurement(
            measured, truth, counts, report, usable.failures, part, n_left_out
        )
        write_dense_page(page, model, images, estimator, found_out)
    if as_json:
        print_json({"model": model, "part": part, "left_out": n_left_out, **report.to_dict()})
    else:
        if part is not None:
            click.echo(f"measured on {part} ({len(listed):,} images)")
        for line in report_lines(report, n_left_out):
            click.echo(line)
    for name, place in (("pictures", overlays), ("precision over recall", plot)):
        if place is not None:
            click.echo(f"{name}: {printable(str(place))}", err=True)
    if page is not None:
        click.echo(f"page: {printable(str(page))} ({size_of(page.stat().st_size)})", err=True)
    report_failures(usable.failures, len(listed))
    ctx.exit(exit_code(usable.failures, on_error))


def _check_places(task: str, out: Path | None, plot: Path | None, page: Path | None) -> None:
    """Raise an error before the work for what can't be written."""
    if out is not None:
        raise click.UsageError(
            f"--out of evaluate is for labels; of {task}, predict writes what is on each image"
        )
    if plot is not None:
        if not dense_task_of(task).has_objects:
            raise click.UsageError(f"--plot is for {FINDING}; this model predicts {task}")
        check_file(plot)
    if page is not None:
        from transferkit.report.page import check_page

        check_page(page)


def _to_measure(
    source: str, estimator: Any, use_all: bool, options: dict[str, Any]
) -> tuple[ImageSet, AnnotationSet | None, str | None]:
    """Images and annotations of the part that is measured, and its name; all without parts."""
    from transferkit.datasets import measured_of

    listed, found = annotated_images(source, estimator.task_name, options, estimator.classes_)
    part = None if use_all else measured_of(listed.split_names)
    if part is None:
        return listed, found, None
    at = [i for i, name in enumerate(listed.splits or ()) if name == part]
    return listed.select(at), None if found is None else found.select(at), part
