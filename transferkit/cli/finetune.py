"""``transferkit finetune``."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._facts import facts_of
from transferkit.cli._measure import headline, measure
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
from transferkit.cli._output import print_json, print_pairs
from transferkit.cli._split import split_images

if TYPE_CHECKING:
    from transferkit.images import ImageSet


@click.command()
@click.argument("images")
@backbone_options
@click.option(
    "--task",
    type=click.Choice(["classification", "regression"]),
    default="classification",
    show_default=True,
    help="Labels are classes, or numbers.",
)
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
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The model's folder.")
@click.option("--force", is_flag=True, help="Replace a model that is there.")
@click.option(
    "--run",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder for checkpoint, log.csv and curves.png; default OUT.run.",
)
@click.option("--resume", is_flag=True, help="Go on from that folder's checkpoint.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard's files there too.")
@click.option(
    "--test-size",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.2,
    show_default=True,
    help="Share held out to measure the model, where the images have no splits; 0 for none.",
)
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
    train, test = split_images(
        listed.select(extraction.kept), extraction.ids, test_size, seed, task
    )
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
    try:
        model.fit(train, resume=resume)
    except KeyboardInterrupt:
        click.echo(f"The last checkpoint is in {model.folder}; go on with --resume.", err=True)
        raise
    if processes.is_first:
        part = "test split" if listed.split_names else f"held out: {test_size:.0%}, seed {seed}"
        result, measured = _saved(model, out, force, images, part, listed, test)
        result["failures"] = [{"name": f.name, "reason": f.reason} for f in extraction.failures]
        if as_json:
            print_json(result)
        else:
            _print(result, measured, part)
        report_failures(extraction.failures, len(listed))
    processes.wait()
    ctx.exit(exit_code(extraction.failures, on_error))


def _saved(
    model: Any,
    out: Path,
    force: bool,
    source: str,
    part: str,
    images: ImageSet,
    test: ImageSet | None,
) -> tuple[dict[str, Any], str | None]:
    """Measure a model and save it; what is printed, and the most important numbers."""
    report = X = None
    if test is not None and test.labels is not None:
        X = model.extractor_.transform(test)
        report = measure(model, test, X)
    model.facts_ |= facts_of(model, source, part, test, X, report)
    model.save(out, overwrite=force)
    shutil.rmtree(model.folder_ / "backbone")  # the saved model has it now
    best = model.history_[model.best_epoch_]
    result = {
        "model": str(out),
        "run": str(model.folder_),
        "images": len(images),
        "train": len(model.train_ids_),
        "test": len(test) if test is not None else 0,
        "strategy": model.strategy,
        "epochs": len(model.history_) - 1,
        "best_epoch": model.best_epoch_,
        "seconds": round(model.history_[-1]["seconds"], 1),
        "validation": best.get("val_metric"),
        "validation_before": model.history_[0].get("val_metric"),
        "report": None if report is None else report.to_dict(),
    }
    return result, None if report is None else headline(report)


def _print(result: dict[str, Any], measured: str | None, part: str) -> None:
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
            (
                "test",
                f"{measured}, on {result['test']:,} images ({part})"
                if measured
                else "not measured: nothing was held out",
            ),
            ("curves", f"{result['run']}"),
            ("model", f"{result['model']} (trained on {result['train']:,} images)"),
        ]
    )
