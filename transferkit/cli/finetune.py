"""``transferkit finetune``."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._options import (
    backbone_options,
    exit_code,
    extractor_from,
    image_options,
    images_from,
    json_option,
    machine_options,
    on_error_option,
    report_failures,
    store_option,
    values_option,
)
from transferkit.cli._output import counted, print_json, print_pairs
from transferkit.cli._split import split_images
from transferkit.cli._training import (
    force_option,
    measured_line,
    measured_part,
    out_option,
    save_measured,
    task_option,
    test_size_option,
)

if TYPE_CHECKING:
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
@store_option
@image_options
@machine_options
@on_error_option
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
    from transferkit.artifacts import check_writable
    from transferkit.estimators import FineTuneClassifier, FineTuneRegressor
    from transferkit.estimators.targets import training_parts
    from transferkit.finetune import choose_recipe, parse_strategy
    from transferkit.finetune.processes import Processes
    from transferkit.forward import choose_device

    check_writable(out, overwrite=force)
    settings = {"seed": seed, **({} if minutes is None else {"minutes": minutes}), **settings}
    choose_recipe(settings, parse_strategy(strategy), 1)
    progress = not options["quiet"] and sys.stderr.isatty()
    extractor = extractor_from(options)
    listed = images_from(images, options)
    training_parts(listed, None, None, task)  # says now what is wrong with the labels
    processes = Processes(choose_device(extractor.device))
    mode = "raise" if on_error == "raise" else "skip"
    with processes.first_alone():
        extraction = extractor.extract(listed, on_error=mode, keep_rows=False)
    train, test = split_images(listed, extraction, test_size, seed, task)
    if processes.is_first:  # the recipe, before training starts
        logging.getLogger("transferkit.finetune").setLevel(logging.INFO)
    kind = FineTuneRegressor if task == "regression" else FineTuneClassifier
    model = kind(
        extractor,
        strategy,
        recipe=settings,
        init=init,
        folder=folder or out.parent / f"{out.name}.run",
        tensorboard=tensorboard,
        progress=progress,
    )
    _fit(model, train, resume)
    if processes.is_first:
        part = measured_part(listed, test_size, seed)
        report = save_measured(model, out, overwrite=force, source=images, part=part, test=test)
        shutil.rmtree(model.folder_ / "backbone")  # the saved model has it now
        n_test = len(test) if test is not None else 0
        result = _result(model, out, len(listed), n_test, report)
        result["failures"] = [{"name": f.name, "reason": f.reason} for f in extraction.failures]
        if as_json:
            print_json(result)
        else:
            _print(result, measured_line(report, n_test, part))
        report_failures(extraction.failures, len(listed))
    processes.wait()
    ctx.exit(exit_code(extraction.failures, on_error))


def _fit(model: Any, train: ImageSet, resume: bool) -> None:
    try:
        model.fit(train, resume=resume)
    except KeyboardInterrupt:
        click.echo(f"The last checkpoint is in {model.folder}; go on with --resume.", err=True)
        raise


def _result(model: Any, out: Path, n_images: int, n_test: int, report: Any) -> dict[str, Any]:
    """What came of the training, as it is printed."""
    best = model.history_[model.best_epoch_]
    return {
        "model": str(out),
        "run": str(model.folder_),
        "images": n_images,
        "train": len(model.train_ids_),
        "test": n_test,
        "strategy": model.strategy,
        "epochs": len(model.history_) - 1,
        "best_epoch": model.best_epoch_,
        "seconds": round(model.history_[-1]["seconds"], 1),
        "validation": best.get("val_metric"),
        "validation_before": model.history_[0].get("val_metric"),
        "report": None if report is None else report.to_dict(),
    }


def _print(result: dict[str, Any], test: tuple[str, str]) -> None:
    chosen = f"epoch {result['best_epoch']} of {result['epochs']}"
    if result["validation"] is not None:
        chosen += (
            f"; {result['validation']:.3f} on the validation part, "
            f"{result['validation_before']:.3f} before"
        )
    print_pairs(
        [
            ("images", f"{result['images']:,}"),
            ("trained", f"{result['strategy']}, {result['seconds']:.1f} s"),
            ("kept", chosen),
            test,
            ("curves", f"{result['run']}"),
            ("model", f"{result['model']} (trained on {counted(result['train'], 'image')})"),
        ]
    )
