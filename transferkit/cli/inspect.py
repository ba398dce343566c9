"""``transferkit inspect``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from transferkit.cli._dense import (
    FINDING,
    annotated_images,
    annotation_options,
    check_only_vectors,
    is_dense,
)
from transferkit.cli._options import (
    backbone_options,
    estimator_from,
    exit_code,
    extractor_from,
    images_from,
    json_option,
    report_failures,
    run_options,
)
from transferkit.cli._output import counted, print_json, print_pairs, printable
from transferkit.cli._training import any_task_option, group_option
from transferkit.cli._writing import check_file, form_of, out_file_option, write_lines

if TYPE_CHECKING:
    from transferkit.annotations import AnnotationSet
    from transferkit.images import ImageSet
    from transferkit.inspection import Finding, Inspection

_SHOWN = 5


@click.command()
@click.argument("images")
@backbone_options
@any_task_option
@group_option
@annotation_options
@click.option(
    "--model",
    metavar="MODEL",
    help="Saved model that finds objects: its predictions are compared with the annotations, for "
    "objects without a box or of another class. A model that was trained on these same images "
    "finds fewer mistakes; train it on others, or on one half for the other.",
)
@out_file_option("File for one line per finding; by its ending CSV, JSON, JSON Lines or Parquet.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="HTML page with pictures of what was found.",
)
@click.option(
    "--write-exclude",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.txt",
    help="List of the images to leave out, for --exclude of other commands: copies, and images "
    "that can't be read.",
)
@click.option(
    "--exclude-kinds",
    default="",
    metavar="KINDS",
    help="Kinds of findings that are left out besides, with commas between: label,outlier.",
)
@click.option(
    "--mirrored",
    is_flag=True,
    help="Extract the mirror images too, and find copies that are mirrored and cropped.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the folds that judge labels.")
@run_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    images: str,
    task: str,
    model: str | None,
    out: Path | None,
    report: Path | None,
    write_exclude: Path | None,
    exclude_kinds: str,
    mirrored: bool,
    seed: int,
    on_error: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Find what is likely wrong with IMAGES: copies, wrong labels, outliers, odd files.

    Exact and near duplicates are told inside and across splits; labels are judged by heads that
    weren't trained on the image. For --task detection, segmentation and the like the annotations
    are looked at too. Nothing is changed: --write-exclude FILE.txt writes a list for fit
    --exclude FILE.txt.
    """
    from transferkit.inspection import inspect_dataset, with_excluded
    from transferkit.inspection.findings import check_kinds

    form = _check_outputs(out, write_exclude, report)
    kinds = [kind.strip() for kind in exclude_kinds.split(",") if kind.strip()]
    check_kinds(kinds)
    estimator = None
    if model is not None:
        task = _task_of(model, task if _is_given(ctx, "task") else None)
        estimator = estimator_from(model, dict(options))
    extractor = extractor_from(options)
    classes = None if estimator is None else estimator.classes_
    listed, annotations = _listed(images, task, options, classes)
    found = inspect_dataset(
        listed,
        extractor,
        task="classification" if is_dense(task) else task,
        uses_mirrored=mirrored,
        seed=seed,
    )
    if annotations is not None:
        found = _with_annotations(found, annotations, estimator)
    found = with_excluded(found, kinds)
    failures = found.failures
    if on_error == "raise" and failures:
        report_failures(failures, len(found.images))
        ctx.exit(1)
    _write(found, annotations, images, out, form, write_exclude, report)
    if as_json:
        print_json(
            {
                "facts": dict(found.facts),
                "balance": found.balance,
                "findings": found.lines(),
                "excluded": found.excluded(),
            }
        )
    else:
        _print(found, write_exclude)
    report_failures(failures, len(found.images))
    ctx.exit(exit_code(failures, on_error))


def _check_outputs(out: Path | None, write_exclude: Path | None, report: Path | None) -> str:
    """Say now if a result can't be written, and return the form of --out."""
    from transferkit.images.exclusions import LIST_SUFFIX

    for file in (out, write_exclude):
        if file is not None:
            check_file(file)
    if write_exclude is not None and write_exclude.suffix.lower() != LIST_SUFFIX:
        raise click.UsageError(f"--write-exclude writes a list; end its name in {LIST_SUFFIX}")
    if report is not None:
        from transferkit.report.page import check_page

        check_page(report)
    return "json" if out is not None and out.suffix.lower() == ".json" else form_of(None, out)


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is not ParameterSource.DEFAULT


def _task_of(model: str, asked: str | None) -> str:
    """Task of the model, whose objects are compared with the annotations."""
    from transferkit.artifacts import task_of
    from transferkit.tasks.dense import dense_task_of

    task: str = task_of(model)
    if not (is_dense(task) and dense_task_of(task).has_objects):
        raise click.UsageError(f"--model is for {FINDING}; this model predicts {task}")
    if asked not in (None, task):
        raise click.UsageError(f"--task is {asked}, and the model's is {task}; leave --task out")
    return task


def _listed(
    source: str, task: str, options: dict[str, Any], classes: Sequence[str] | None
) -> tuple[ImageSet, AnnotationSet | None]:
    """Images with their labels, or without them and with annotations, if the task wants these."""
    if is_dense(task):
        images, annotations = annotated_images(source, task, options, classes)
        return dataclasses.replace(images, labels=None), annotations
    check_only_vectors(options, task)
    return images_from(source, options), None


def _with_annotations(
    found: Inspection, annotations: AnnotationSet, estimator: Any | None
) -> Inspection:
    """The same inspection with what is found in the annotations, by a model too if there is one."""
    from transferkit.inspection.annotations import inspect_annotations
    from transferkit.inspection.balance import object_balance
    from transferkit.inspection.disagreements import model_disagreements
    from transferkit.inspection.findings import in_order

    own: list[Finding] = inspect_annotations(found.images, annotations)
    facts = dict(found.facts)
    if estimator is not None:
        others, facts["model"] = model_disagreements(estimator, found.images, annotations)
        own += others
    return dataclasses.replace(
        found,
        findings=[*found.findings, *in_order(own)],
        facts=facts,
        balance=object_balance(found.images, annotations),
    )


def _write(
    found: Inspection,
    annotations: AnnotationSet | None,
    source: str,
    out: Path | None,
    form: str,
    write_exclude: Path | None,
    report: Path | None,
) -> None:
    from transferkit.cli._output import json_text
    from transferkit.files import write_whole
    from transferkit.images.exclusions import write_exclusions

    if out is not None and form == "json":
        write_whole(out, [json_text(found.lines(), indent=1).encode(), b"\n"])
    elif out is not None:
        write_lines(out, found.lines(), form)
    if write_exclude is not None:
        write_exclusions(write_exclude, found.excluded())
    if report is not None:
        from transferkit.report.inspection.page import inspection_page

        inspection_page(found, title=Path(source).name, annotations=annotations).write(report)


def _print(found: Inspection, write_exclude: Path | None) -> None:
    """A line of numbers for each kind, and below it the surest few."""
    excluded = found.excluded()
    where = f", listed in {write_exclude}" if write_exclude is not None else ""
    pairs = [*found.facts.items(), ("to leave out", f"{counted(len(excluded), 'image')}{where}")]
    kept = ",".join(dict.fromkeys(one.kind for one in found.findings if not one.is_excluded))
    if write_exclude is not None and kept:
        pairs.append(("not listed", f"other kinds; --exclude-kinds {kept!r} lists them too"))
    print_pairs([(name, printable(text)) for name, text in pairs])
    for kind in dict.fromkeys(one.kind for one in found.findings):
        own = found.of(kind)
        click.echo(f"\n{kind}: {len(own):,}{_across(found, own)}")
        for one in own[:_SHOWN]:
            name, reason = found.images.names[one.image], one.reason
            beside = "" if one.other is None else f" ~ {printable(found.images.names[one.other])}"
            click.echo(f"  {printable(name)}{beside}: {printable(reason)}")
        if (more := len(own) - _SHOWN) > 0:
            click.echo(f"  … and {more:,} more")


def _across(found: Inspection, findings: list[Finding]) -> str:
    """How many of some copies are of an image in another split."""
    splits = found.images.splits
    if splits is None:
        return ""
    n = sum(one.other is not None and splits[one.image] != splits[one.other] for one in findings)
    return f", {n:,} of them across splits" if n else ""
