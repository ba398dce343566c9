"""``transferkit inspect``."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._dense import (
    annotated_images,
    annotation_options,
    check_only_vectors,
    is_dense,
)
from transferkit.cli._options import (
    backbone_options,
    exit_code,
    extractor_from,
    images_from,
    json_option,
    report_failures,
    run_options,
)
from transferkit.cli._output import counted, print_json, print_pairs, printable
from transferkit.cli._training import any_task_option
from transferkit.cli._writing import check_file, form_of, out_file_option, write_lines

if TYPE_CHECKING:
    from transferkit.annotations import AnnotationSet
    from transferkit.images import Failure, ImageSet
    from transferkit.inspection import Finding, Inspection

_SHOWN = 5


@click.command()
@click.argument("images")
@backbone_options
@any_task_option
@annotation_options
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
    help="List of the images to leave out, which --exclude of other commands takes: copies, and "
    "images that can't be read.",
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

    form = _check_outputs(out, write_exclude, report)
    extractor = extractor_from(options)
    listed, annotations = _listed(images, task, options)
    found = inspect_dataset(
        listed,
        extractor,
        task="classification" if is_dense(task) else task,
        uses_mirrored=mirrored,
        seed=seed,
    )
    if annotations is not None:
        found = _with_annotations(found, annotations)
    found = with_excluded(
        found, [kind.strip() for kind in exclude_kinds.split(",") if kind.strip()]
    )
    failures = _failures(found)
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

    for file in (out, write_exclude, report):
        if file is not None:
            check_file(file)
    if write_exclude is not None and write_exclude.suffix.lower() != LIST_SUFFIX:
        raise click.UsageError(f"--write-exclude writes a list; end its name in {LIST_SUFFIX}")
    if report is not None and _optional("transferkit.report.inspection_page") is None:
        raise click.UsageError("--report isn't there yet; leave it out")
    return "json" if out is not None and out.suffix.lower() == ".json" else form_of(None, out)


def _listed(
    source: str, task: str, options: dict[str, Any]
) -> tuple[ImageSet, AnnotationSet | None]:
    """Images with their labels, or without them and with annotations, if the task wants these."""
    if is_dense(task):
        images, annotations = annotated_images(source, task, options)
        return dataclasses.replace(images, labels=None), annotations
    check_only_vectors(options, task)
    return images_from(source, options), None


def _with_annotations(found: Inspection, annotations: AnnotationSet) -> Inspection:
    module = _optional("transferkit.inspection.annotations")
    if module is None:
        return found
    own: list[Finding] = module.inspect_annotations(found.images, annotations)
    return dataclasses.replace(found, findings=[*found.findings, *own])


def _optional(name: str) -> Any:
    """A module of ours that may not be there."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def _failures(found: Inspection) -> list[Failure]:
    """Images that couldn't be read."""
    from transferkit.images import Failure

    prefix = "can't be read: "
    return [
        Failure(one.image, found.images.names[one.image], one.reason.removeprefix(prefix))
        for one in found.of("odd file")
        if one.reason.startswith(prefix)
    ]


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
        page = _optional("transferkit.report.inspection_page")
        page.inspection_page(found, title=Path(source).name, annotations=annotations).write(report)


def _print(found: Inspection, write_exclude: Path | None) -> None:
    """A line of numbers for each kind, and below it the surest few."""
    n_excluded = len(found.excluded())
    where = f", listed in {write_exclude}" if write_exclude is not None else ""
    pairs = [*found.facts.items(), ("to leave out", f"{counted(n_excluded, 'image')}{where}")]
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
