"""``transferkit evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._dense import annotation_options, check_only_vectors, is_dense, tiles_option
from transferkit.cli._dense_predict import evaluate_dense
from transferkit.cli._lines import predictions, truth_lines
from transferkit.cli._model_report import check_report, write_report
from transferkit.cli._options import (
    estimator_from,
    exit_code,
    extraction_mode,
    images_from,
    json_option,
    report_failures,
    run_options,
)
from transferkit.cli._output import counted, print_json, printable
from transferkit.cli._writing import (
    check_file,
    form_of,
    format_option,
    out_file_option,
    write_lines,
)
from transferkit.report.text import report_lines

if TYPE_CHECKING:
    import numpy as np

    from transferkit.extract import Extraction
    from transferkit.images import ImageSet


@click.command()
@click.argument("model")
@click.argument("images")
@click.option("--all", "use_all", is_flag=True, help="Also images that the model was trained on.")
@out_file_option("File for one line per image: label, prediction, whether it is right.")
@format_option
@click.option(
    "--overlays",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for pictures of the images with their annotations and what was found.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="PNG file for the precision over recall of objects.",
)
@click.option(
    "--report",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="HTML page of what was measured: numbers, charts, and pictures of the mistakes.",
)
@click.option(
    "--map",
    "mapping",
    type=click.Choice(["pca", "tsne", "umap", "none"]),
    help="How the page draws the features on a plane.  [default: pca]",
)
@annotation_options
@tiles_option("as the model was trained")
@run_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    images: str,
    use_all: bool,
    out: Path | None,
    form: str | None,
    overlays: Path | None,
    plot: Path | None,
    page: Path | None,
    mapping: str | None,
    on_error: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure a saved MODEL on labelled IMAGES.

    Uses the test split if there is one, else the val split. Images that the model was trained
    on are left out, whatever they are called now, unless --all is given; images without a
    label always are. --out FILE tells of each image that was measured what it is and what the
    model says (of numbers: the residual, prediction - label), and of those that could not be
    read why.
    """
    from transferkit.artifacts import task_of
    from transferkit.datasets import Dataset, chosen_rows, measured_of
    from transferkit.estimators import side_by_side
    from transferkit.estimators.measuring import learnt_columns, measure, true_targets
    from transferkit.memory import memory_for_features

    task = task_of(model)
    if mapping is not None and (page is None or is_dense(task)):
        raise click.UsageError(
            "--map is for the page of a model that predicts whole images; "
            + ("leave it out" if is_dense(task) else "give --report FILE too")
        )
    if is_dense(task):
        evaluate_dense(
            ctx,
            model,
            images,
            task,
            use_all=use_all,
            out=out,
            overlays=overlays,
            plot=plot,
            page=page,
            tiles=options.pop("tiles"),
            on_error=on_error,
            as_json=as_json,
            options=options,
        )
    check_only_vectors(options, task)
    if overlays is not None or plot is not None:
        flag = "--overlays" if plot is None else "--plot"
        raise click.UsageError(f"{flag} is for annotated images; this model predicts {task}")
    if form is not None and out is None:
        raise click.UsageError("--format is the form of --out's file; give --out FILE too")
    form = form_of(form, out)
    if out is not None:
        check_file(out)
    if page is not None:
        check_report(page, mapping or "pca")
    estimator = estimator_from(model, options)
    listed = images_from(images, options, learnt_columns(estimator))
    part = None if use_all else measured_of(listed.split_names)
    if part is not None:
        listed = listed.split(part)
    extraction = estimator.extractor_.extract(
        listed, on_error=extraction_mode(on_error), keep_rows="fitting"
    )
    chosen = _unseen(extraction, estimator.train_ids_, use_all)
    n_left_out = len(extraction.kept) - int(chosen.sum())
    chosen &= _labelled(listed.select(extraction.kept))
    at = extraction.kept[chosen].tolist()
    measured = listed.select(at)
    y = true_targets(estimator, measured)
    X = side_by_side(extraction, memory=memory_for_features())
    data = Dataset(measured, X=chosen_rows(X, chosen), y=y)
    report = measure(estimator, data)
    if out is not None:
        true = dict(zip(at, y.tolist(), strict=True))
        predicted = dict(zip(at, predictions(estimator, data.X), strict=True))
        lines = truth_lines(estimator, listed, true, predicted, extraction.failures)
        write_lines(out, lines, form)
        click.echo(f"{counted(len(lines), 'image')}, line by line: {printable(str(out))}", err=True)
    if page is not None:
        write_report(
            page,
            model,
            estimator,
            data,
            report,
            part=part,
            n_left_out=n_left_out,
            failures=extraction.failures,
            mapping=mapping or "pca",
        )
    if as_json:
        print_json({"model": model, "part": part, "left_out": n_left_out, **report.to_dict()})
    else:
        if part is not None:
            note = ": there is no test part" * (part == "val")
            click.echo(f"measured on {part} ({len(listed):,} images){note}")
        for line in report_lines(report, n_left_out):
            click.echo(line)
    report_failures(extraction.failures, len(listed))
    ctx.exit(exit_code(extraction.failures, on_error))


def _unseen(extraction: Extraction, train_ids: np.ndarray, use_all: bool) -> np.ndarray:
    """Mask of the readable images that the model wasn't trained on."""
    import numpy as np

    from transferkit.datasets import is_unseen

    if use_all:
        return np.ones(len(extraction.ids), dtype=bool)
    unseen = is_unseen(extraction.ids, [row.tobytes() for row in train_ids])
    if not unseen.any():
        raise ValueError(
            "the model was trained on every one of these images, so they can't tell how good it "
            "is; give others, or --all to measure on them all the same"
        )
    return unseen


def _labelled(images: ImageSet) -> np.ndarray:
    """Mask of the images with a label; all if none has one, for which `measure` has an error."""
    from transferkit.datasets import is_labelled

    labelled = is_labelled(images.labels, len(images))
    if labelled.any() and not labelled.all():
        click.echo(
            f"Warning: {int((~labelled).sum()):,} of {len(images):,} images have no label and are "
            f"left out",
            err=True,
        )
    return labelled if labelled.any() else ~labelled
