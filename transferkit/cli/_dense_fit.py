"""``transferkit fit`` of dense tasks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from transferkit.cli._dense import (
    TRAINED,
    Training,
    annotated_images,
    dense_extractor_from,
    report_remarks,
    saved_and_measured,
)
from transferkit.cli._options import exit_code, extraction_mode, report_failures
from transferkit.cli._output import counted, print_json, print_pairs, print_plan
from transferkit.cli._training import (
    Measured,
    measured_pairs,
    report_unmeasured,
    telling_of_checkpoint,
)
from transferkit.tasks.dense import dense_task_of

if TYPE_CHECKING:
    from transferkit.datasets import Division
    from transferkit.estimators._maps import Usable

__all__ = ["fit_dense"]


def fit_dense(ctx: click.Context, asked: Training, *, only_plan: bool) -> NoReturn:
    """Train a dense head on maps, save it and measure it; then exit."""
    from transferkit.artifacts import check_writable

    check_writable(asked.out, overwrite=asked.force)
    listed, found = annotated_images(asked.images, asked.task, asked.options)
    resume = asked.options.pop("resume")
    model = _model(ctx, asked, resume)
    if only_plan:
        print_plan(model.plan(listed, found), as_json=asked.as_json)
        ctx.exit(0)
    processes = model.processes()
    with processes.first_alone():
        usable = model.usable(listed, found, extraction_mode(asked.on_error))
    parts = model.divided(usable, asked.test_size, asked.seed)
    start = time.perf_counter()
    with telling_of_checkpoint(getattr(model, "folder", None)):
        model.fit_parts(usable, parts, resume=resume)
    seconds, measured = time.perf_counter() - start, Measured()
    if processes.is_first:
        measured = _told(model, asked, len(listed), usable, parts, seconds)
    processes.wait()
    ctx.exit(1 if measured.has_failed else exit_code(usable.failures, asked.on_error))


def _told(
    model: Any, asked: Training, n_images: int, usable: Usable, parts: Division, seconds: float
) -> Measured:
    """Save and measure a trained model, and print what came of it."""
    measured = saved_and_measured(model, asked, usable, parts)
    result = _result(model, asked.out, n_images, parts, measured) | {
        "fit_seconds": round(seconds, 3),
        "failures": [{"name": f.name, "reason": f.reason} for f in usable.failures],
        "remarks": [{"name": f.name, "reason": f.reason} for f in usable.remarks],
    }
    if asked.as_json:
        print_json(result)
    else:
        _print(result, model, parts, measured)
    report_failures(usable.failures, n_images)
    report_remarks(usable.remarks)
    report_unmeasured(measured, asked.out)
    return measured


def _model(ctx: click.Context, asked: Training, resume: bool) -> Any:
    """The estimator that the options describe."""
    from transferkit.estimators import dense_estimator_of

    task, options = dense_task_of(asked.task), asked.options
    folder = options.pop("run") or asked.out.parent / f"{asked.out.name}.run"
    neck, neck_options = options.pop("neck"), options.pop("neck_parameters")
    recipe = {"seed": asked.seed, **options.pop("recipe")}
    tiles = options.pop("tiles")
    tiles = None if tiles == "none" else tiles
    network: dict[str, Any] = {"seed": asked.seed}
    if task.has_network:
        network = {"neck": neck, "neck_options": neck_options, "recipe": recipe, "folder": folder}
        network["tiles"] = tiles
    else:
        given = {
            "--tiles": tiles,
            "--neck": neck,
            "--neck-arg": neck_options,
            "--set": len(recipe) > 1,
            "--resume": resume,
        }
        for flag, value in given.items():
            if value:
                raise click.UsageError(f"{flag} is for {TRAINED}, not {task.name}")
    kind = dense_estimator_of(task.name)
    model = kind(
        dense_extractor_from(ctx, options, kind.crop_mode),
        asked.head or task.default_head,
        head_options=asked.head_options,
        **network,
    )
    model.suits_input = True
    return model


def _result(
    model: Any, out: Path, n_images: int, parts: Division, measured: Measured
) -> dict[str, Any]:
    return {
        "model": str(out),
        "images": n_images,
        "train": len(model.train_ids_),
        "test": measured.n,
        "left_out": sum(parts.left_out.values()),
        "parts": parts.line(),
        "task": model.task_name,
        "classes": model.output_names_.tolist(),
        "features": model.extractor_.feature_names,
        "head": model.head,
        "described": model.description(),
        "report": None if measured.report is None else measured.report.to_dict(),
        "not_measured": measured.reason or None,
    }


def _print(result: dict[str, Any], model: Any, parts: Division, measured: Measured) -> None:
    from transferkit.report.text import report_lines

    kind = counted(len(result["classes"]), "class", "classes")
    print_pairs(
        [
            ("images", f"{result['images']:,} ({kind})"),
            ("features", f"{', '.join(result['features'])}; {model.summary_}"),
            ("parts", parts.line()),
            ("head", f"{result['described']}, fitted in {result['fit_seconds']:.1f} s"),
            *measured_pairs(model, measured, parts, parts.name),
            *([("curves", str(model.folder))] if hasattr(model, "folder") else []),
            ("model", f"{result['model']} (trained on {counted(result['train'], 'image')})"),
        ]
    )
    if measured.report is not None:
        click.echo()
        for line in report_lines(measured.report):
            click.echo(line)
