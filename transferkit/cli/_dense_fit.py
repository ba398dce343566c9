"""``transferkit fit`` of dense tasks: segmentation, detection and anomaly."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from transferkit.cli._dense import annotated_images, dense_extractor_from, report_remarks
from transferkit.cli._options import exit_code, extraction_mode, report_failures
from transferkit.cli._output import counted, print_json, print_pairs, print_plan
from transferkit.cli._training import measured_pairs, report_unmeasured, save_then_measure

if TYPE_CHECKING:
    from transferkit.cli._training import Measured
    from transferkit.datasets import Division
    from transferkit.images import ImageSet

__all__ = ["fit_dense"]


def fit_dense(
    ctx: click.Context,
    images: str,
    task: str,
    out: Path,
    *,
    head: str | None,
    head_options: dict[str, Any],
    force: bool,
    test_size: float,
    seed: int,
    on_error: str,
    only_plan: bool,
    as_json: bool,
    options: dict[str, Any],
) -> NoReturn:
    """Train a dense head on maps, save it and measure it; then exit."""
    from transferkit.artifacts import check_writable

    check_writable(out, overwrite=force)
    listed, found = annotated_images(images, task, options)
    model = _model(ctx, listed, task, out, head, head_options, seed, options)
    resume = options.pop("resume")
    if only_plan:
        print_plan(model.plan(listed), as_json=as_json)
        ctx.exit(0)
    usable = model.usable(listed, found, extraction_mode(on_error))
    parts = model.divided(usable, test_size, seed)
    start = time.perf_counter()
    try:
        model.fit_parts(usable, parts, resume=resume)
    except KeyboardInterrupt:
        click.echo(f"The last checkpoint is in {model.folder}; go on with --resume.", err=True)
        raise
    seconds = time.perf_counter() - start

    def measured_part() -> tuple[Any, ImageSet]:
        part, own = usable.select(parts.measured)
        return model.measure(part, own), part

    measured = save_then_measure(
        model,
        out,
        measured_part if len(parts.measured) else None,
        overwrite=force,
        source=images,
        part=parts.name,
        reason=parts.why_not_measured(),
    )
    result = _result(model, out, len(listed), parts, measured) | {
        "fit_seconds": round(seconds, 3),
        "failures": [{"name": f.name, "reason": f.reason} for f in usable.failures],
        "remarks": [{"name": f.name, "reason": f.reason} for f in usable.remarks],
    }
    if as_json:
        print_json(result)
    else:
        _print(result, model, parts, measured)
    report_failures(usable.failures, len(listed))
    report_remarks(usable.remarks)
    report_unmeasured(measured, out)
    ctx.exit(1 if measured.has_failed else exit_code(usable.failures, on_error))


def _model(
    ctx: click.Context,
    images: ImageSet,
    task: str,
    out: Path,
    head: str | None,
    head_options: dict[str, Any],
    seed: int,
    options: dict[str, Any],
) -> Any:
    """The estimator that the options describe."""
    from transferkit.estimators import dense_estimator_of
    from transferkit.tasks.dense import dense_task_of

    folder = options.pop("run") or out.parent / f"{out.name}.run"
    neck, neck_options = options.pop("neck"), options.pop("neck_parameters")
    recipe = {"seed": seed, **options.pop("recipe")}
    tiles = options.pop("tiles")
    tiles = None if tiles == "none" else tiles
    kind = dense_task_of(task)
    if tiles is not None and not kind.has_network:
        raise click.UsageError(f"--tiles is for segmentation and detection, not {task}")
    extractor = dense_extractor_from(ctx, options, images, tiles)
    network: dict[str, Any] = {}
    if kind.has_network:
        network = {"neck": neck, "neck_options": neck_options, "recipe": recipe, "folder": folder}
        network["tiles"] = tiles
    elif neck or neck_options or len(recipe) > 1 or options["resume"]:
        raise click.UsageError(
            f"--neck, --set and --resume are for segmentation and detection, not {task}"
        )
    else:
        network = {"seed": seed}
    return dense_estimator_of(task)(
        extractor, head or kind.default_head, head_options=head_options, **network
    )


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
