"""``transferkit predict``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._dense import is_dense, tiles_option
from transferkit.cli._dense_predict import (
    ANNOTATION_FORMS,
    LINES,
    forms_of_tasks,
    predict_dense,
)
from transferkit.cli._lines import own_columns, predicted_lines, predictions
from transferkit.cli._options import (
    estimator_from,
    exit_code,
    extraction_mode,
    images_from,
    report_failures,
    run_options,
)
from transferkit.cli._output import counted, printable
from transferkit.cli._writing import (
    check_file,
    form_of,
    out_file_option,
    write_lines,
)
from transferkit.tasks import dense

if TYPE_CHECKING:
    from transferkit.extract import Extraction
    from transferkit.images import Failure, ImageSet


@click.command()
@click.argument("model")
@click.argument("images")
@click.option(
    "--format",
    "form",
    type=click.Choice([*LINES, *ANNOTATION_FORMS]),
    help="Form of the result: a line for each image, or annotations: "
    f"{forms_of_tasks()}.  [default: by --out's ending, else csv]",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format jsonl.")
@click.option("--proba", is_flag=True, help="With the probability of every class.")
@out_file_option("File for the result, not stdout; a folder for one file per image.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Least score of objects that are written or drawn; 0 for all.  [default: the model's own]",
)
@click.option(
    "--overlays",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for pictures of the images with what was found in them.",
)
@tiles_option("as the model was trained")
@run_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    images: str,
    form: str | None,
    as_json: bool,
    proba: bool,
    out: Path | None,
    threshold: float | None,
    overlays: Path | None,
    tiles: str | None,
    on_error: str,
    **options: Any,
) -> None:
    """Predict the label of each of IMAGES with a saved MODEL.

    One line per image, in order: a table's own columns, path, prediction, confidence (the
    prediction's probability) and error, which says why an image could not be read.
    """
    from transferkit.artifacts import task_of
    from transferkit.estimators import side_by_side
    from transferkit.memory import memory_for_features

    if as_json and form not in (None, "jsonl"):
        raise click.UsageError(f"--json and --format {form} were both given; give one of them")
    form = "jsonl" if as_json else form
    if is_dense(task_of(model)):
        if proba:
            raise click.UsageError("--proba is for classes of images; leave it out")
        predict_dense(
            ctx,
            model,
            images,
            form=form,
            out=out,
            overlays=overlays,
            threshold=threshold,
            tiles=tiles,
            on_error=on_error,
            options=options,
        )
    given = {"--threshold": threshold, "--tiles": tiles, "--overlays": overlays}
    given = {flag: value for flag, value in given.items() if value is not None}
    if form in ANNOTATION_FORMS or given:
        shown = next(iter(given), f"--format {form}")
        raise click.UsageError(
            f"{shown} is for models of dense tasks ({', '.join(dense.names())}); this one predicts "
            f"{task_of(model)}"
        )
    form = form_of(form, out)
    if out is not None:
        check_file(out)
    path_column = options["path_column"]
    listed = images_from(images, options)
    estimator = estimator_from(model, options)
    if proba and not hasattr(estimator, "predict_proba"):
        raise ValueError(
            f"the model's head ({type(estimator.head_).__name__}) gives no probabilities; leave "
            f"--proba out"
        )
    own = own_columns(images, listed, path_column)
    extraction, failures = _extract(estimator, listed, on_error)
    predicted: dict[int, dict[str, Any]] = {}
    if extraction is not None:
        X = side_by_side(extraction, memory=memory_for_features())
        found = predictions(estimator, X, proba=proba)
        predicted = dict(zip(extraction.kept.tolist(), found, strict=True))
    lines = predicted_lines(estimator, listed, predicted, failures, proba=proba)
    # The path keeps its column and its spelling in the table.
    merged = [{**a, **b, "path": a.get("path", b["path"])} for a, b in zip(own, lines, strict=True)]
    write_lines(out, merged, form)
    if out is not None:
        n_done = len(listed) - len(failures)
        all_images = counted(len(listed), "image")
        click.echo(f"{n_done:,} of {all_images} predicted: {printable(str(out))}", err=True)
    report_failures(failures, len(listed))
    ctx.exit(exit_code(failures, on_error))


def _extract(
    estimator: Any, images: ImageSet, on_error: str
) -> tuple[Extraction | None, Sequence[Failure]]:
    """Extract features; None for them if not one image could be read."""
    from transferkit.images import UnreadableImages

    try:
        extraction = estimator.extractor_.extract(
            images, on_error=extraction_mode(on_error), keep_rows="fitting"
        )
    except UnreadableImages as error:
        # If no image could be read, the result is a line with an error for each.
        if on_error == "raise" or len(error.failures) != len(images):
            raise
        return None, error.failures
    return extraction, extraction.failures
