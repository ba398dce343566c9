"""``transferkit finetune``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._dense import (
    TRAINED,
    Training,
    annotation_options,
    check_only_vectors,
    is_dense,
    neck_options,
)
from transferkit.cli._dense_finetune import finetune_dense
from transferkit.cli._finetuned import (
    print_tuned,
    show_recipe,
    tuned_result,
)
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
from transferkit.cli._output import print_json
from transferkit.cli._training import (
    Measured,
    any_task_option,
    divided,
    force_option,
    group_option,
    measured_pairs,
    out_option,
    report_unmeasured,
    save_then_measure,
    telling_of_checkpoint,
    test_size_option,
)

if TYPE_CHECKING:
    from transferkit.images import ImageSet


@click.command()
@click.argument("images")
@backbone_options
@any_task_option
@click.option(
    "--strategy",
    default="lp-ft",
    show_default=True,
    help="lp-ft, full, norm-only, bias-only, lora, or last-N-stages on cached activations.",
)
@click.option("--head", help="Of dense tasks; see `transferkit heads`.")
@values_option(
    "--head-arg",
    "head_parameters",
    help="Parameter of that head, such as width=128; repeatable.",
    example="width=128",
)
@neck_options
@annotation_options
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
    head: str | None,
    head_parameters: dict[str, Any],
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

    Dense tasks train a neck and a head on the frozen backbone's stored maps first, as fit does;
    masks or boxes are found beside IMAGES, or named by --annotations.
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
    folder = folder or out.parent / f"{out.name}.run"
    if is_dense(task):
        asked = Training(
            images,
            task,
            out,
            head=head,
            head_options=head_parameters,
            force=force,
            test_size=test_size,
            seed=seed,
            on_error=on_error,
            as_json=as_json,
            options=options,
        )
        finetune_dense(
            ctx,
            asked,
            strategy=strategy,
            init=init,
            settings=settings,
            folder=folder,
            resume=resume,
            tensorboard=tensorboard,
        )
    check_only_vectors(options, task)
    if head or head_parameters:
        raise click.UsageError(f"--head is for {TRAINED}; {task} is tuned with a linear head")
    choose_recipe(settings, parse_strategy(strategy), 1)
    extractor = extractor_from(options)
    listed = images_from(images, options)
    training_parts(listed, None, None, task)  # says now what is wrong with the labels
    processes = Processes(choose_device(extractor.device))
    with processes.first_alone():
        extraction = extractor.extract(listed, on_error=extraction_mode(on_error), keep_rows=False)
    readable, parts = divided(listed, extraction, task, test_size, seed)
    if processes.is_first:
        show_recipe()
    model = getattr(estimators, task_of(task).fine_tuner)(
        extractor,
        strategy,
        recipe=settings,
        init=init,
        folder=folder,
        tensorboard=tensorboard,
        progress=extractor.progress,
    )
    validation = readable.select(parts.validation) if len(parts.validation) else None
    with telling_of_checkpoint(model.folder):
        model.fit(readable.select(parts.train), validation=validation, resume=resume)
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
        result = tuned_result(model, out, len(listed), parts, measured)
        result["failures"] = [{"name": f.name, "reason": f.reason} for f in failures]
        if as_json:
            print_json(result)
        else:
            print_tuned(result, parts, measured_pairs(model, measured, parts, parts.name))
        report_failures(failures, len(listed))
        report_unmeasured(measured, out)
    processes.wait()
    ctx.exit(1 if measured.has_failed else exit_code(failures, on_error))
