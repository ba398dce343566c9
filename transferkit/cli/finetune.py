"""``transferkit finetune``."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._options import (
    backbone_options,
    exit_code,
    extraction_mode,
    extractor_from,
    images_from,
    json_option,
    report_failures,
    run_options,
    values_option,
)
from transferkit.cli._output import counted, print_json, print_pairs
from transferkit.cli._training import (
    Measured,
    divided,
    force_option,
    group_option,
    measured_pairs,
    out_option,
    report_unmeasured,
    save_then_measure,
    task_option,
    test_size_option,
)

if TYPE_CHECKING:
    from transferkit.datasets import Division
    from transferkit.images import ImageSet


@click.command()
@click.argument("images")
@backbone_options
@task_option
@click.option(
    "--strategy",
    default="lp-ft",
    show_default=True,
    help="lp-ft, full, norm-only, bias-only, lora, or last-N-stages on cached activations.",
)
@click.option("--init", type=click.Path(path_type=Path), help="A saved model to start from.")
@values_option(
    "--set",
    "settings",
    help="Setting of the recipe, such as epochs=10 or mixup=0.2; repeatable.",
    example="layer_decay=0.8",
)
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), help="Time that training may take."
)
@out_option
@force_option
@click.option(
    "--run",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder for checkpoint, log.csv and curves.png; default OUT.run.",
)
@click.option("--resume", is_flag=True, help="Go on from that folder's checkpoint.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard's files there too.")
@test_size_option
@click.option("--seed", default=0, show_default=True, help="Of that split, and of training.")
@group_option
@run_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    images: str,
    task: str,
    strategy: str,
    init: Path | None,
    settings: dict[str, Any],
    minutes: float | None,
    out: Path,
    force: bool,
    folder: Path | None,
    resume: bool,
    tensorboard: bool,
    test_size: float,
    seed: int,
    on_error: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Fine-tune a backbone on labelled IMAGES and save the model.

    A linear head is trained on frozen features first, then the network with it. IMAGES are as
    for fit, and so is the model: predict, evaluate and extract take it. Several GPUs:
    `accelerate launch -m transferkit finetune …`.
    """
    from transferkit import estimators
    from transferkit.artifacts import check_writable
    from transferkit.datasets import Dataset
    from transferkit.estimators import side_by_side
    from transferkit.estimators.measuring import measure
    from transferkit.estimators.targets import training_parts
    from transferkit.finetune import choose_recipe, parse_strategy
    from transferkit.forward import choose_device
    from transferkit.tasks import task_of
    from transferkit.training import Processes

    check_writable(out, overwrite=force)
    settings = {"seed": seed, **({} if minutes is None else {"minutes": minutes}), **settings}
    choose_recipe(settings, parse_strategy(strategy), 1)
    extractor = extractor_from(options)
    listed = images_from(images, options)
    training_parts(listed, None, None, task)  # says now what is wrong with the labels
    processes = Processes(choose_device(extractor.device))
    with processes.first_alone():
        extraction = extractor.extract(listed, on_error=extraction_mode(on_error), keep_rows=False)
    readable, parts = divided(listed, extraction, task, test_size, seed)
    if processes.is_first:  # the recipe, before training starts
        for room in ("finetune", "training"):
            logging.getLogger(f"transferkit.{room}").setLevel(logging.INFO)
    model = getattr(estimators, task_of(task).fine_tuner)(
        extractor,
        strategy,
        recipe=settings,
        init=init,
        folder=folder or out.parent / f"{out.name}.run",
        tensorboard=tensorboard,
        progress=extractor.progress,
    )
    _fit(model, readable, parts, resume)
    failures, measured = list(extraction.failures), Measured()
    if processes.is_first:

        def measured_part() -> tuple[Any, ImageSet]:
            test = readable.select(parts.measured)
            tuned = model.extractor_.extract(test, on_error="skip")
            failures.extend(tuned.failures)
            part = test.select(tuned.kept)
            return measure(model, Dataset(part, tuned.ids, side_by_side(tuned))), part

        measured = save_then_measure(
            model,
            out,
            measured_part if len(parts.measured) else None,
            overwrite=force,
            source=images,
            part=parts.name,
            reason=parts.why_not_measured(),
        )
        # The saved model has the tuned weights now. If the probe is kept, there are none.
        shutil.rmtree(model.folder_ / "backbone", ignore_errors=True)
        result = _result(model, out, len(listed), parts, measured)
        result["failures"] = [{"name": f.name, "reason": f.reason} for f in failures]
        if as_json:
            print_json(result)
        else:
            _print(result, parts, measured_pairs(model, measured, parts, parts.name))
        report_failures(failures, len(listed))
        report_unmeasured(measured, out)
    processes.wait()
    ctx.exit(1 if measured.has_failed else exit_code(failures, on_error))


def _fit(model: Any, images: ImageSet, parts: Division, resume: bool) -> None:
    """Train on the parts that are for it."""
    validation = images.select(parts.validation) if len(parts.validation) else None
    try:
        model.fit(images.select(parts.train), validation=validation, resume=resume)
    except KeyboardInterrupt:
        click.echo(f"The last checkpoint is in {model.folder}; go on with --resume.", err=True)
        raise


def _result(
    model: Any, out: Path, n_images: int, parts: Division, measured: Measured
) -> dict[str, Any]:
    """The results of training, as they are printed."""
    best = model.history_[model.best_epoch_]
    return {
        "model": str(out),
        "run": str(model.folder_),
        "images": n_images,
        "train": len(model.train_ids_),
        "test": measured.n,
        "left_out": sum(parts.left_out.values()),
        "parts": parts.line(),
        "strategy": model.strategy,
        "epochs": len(model.history_) - 1,
        "best_epoch": model.best_epoch_,
        "seconds": round(model.history_[-1]["seconds"], 1),
        "validation": best.get("val_metric"),
        "validation_before": model.history_[0].get("val_metric"),
        "report": None if measured.report is None else measured.report.to_dict(),
        "not_measured": measured.reason or None,
    }


def _print(result: dict[str, Any], parts: Division, tests: list[tuple[str, str]]) -> None:
    chosen = f"epoch {result['best_epoch']} of {result['epochs']}"
    if not result["best_epoch"]:
        chosen = f"no gain: the start, before any of {result['epochs']} epochs"
    if result["validation"] is not None:
        chosen += (
            f"; {result['validation']:.3f} on the validation part, "
            f"{result['validation_before']:.3f} before"
        )
    print_pairs(
        [
            ("images", f"{result['images']:,}"),
            *([("parts", parts.line())] if parts.roles is not None else []),
            ("trained", f"{result['strategy']}, {result['seconds']:.1f} s"),
            ("kept", chosen),
            *tests,
            ("curves", f"{result['run']}"),
            ("model", f"{result['model']} (trained on {counted(result['train'], 'image')})"),
        ]
    )
