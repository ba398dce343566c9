"""``transferkit finetune`` of dense tasks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from transferkit.cli._dense import (
    Training,
    annotated_images,
    dense_extractor_from,
    saved_and_measured,
)
from transferkit.cli._finetuned import print_tuned, show_recipe, tuned_result
from transferkit.cli._options import exit_code, extraction_mode, report_failures
from transferkit.cli._output import print_json
from transferkit.cli._training import (
    Measured,
    measured_pairs,
    report_unmeasured,
    telling_of_checkpoint,
)
from transferkit.tasks.dense import dense_task_of

if TYPE_CHECKING:
    from transferkit.datasets import Division

__all__ = ["finetune_dense"]

# Options that a saved model stands in for, with the estimator's names for them.
_OF_INIT = {
    "--head": "head",
    "--head-arg": "head_options",
    "--neck": "neck",
    "--neck-arg": "neck_options",
}


def finetune_dense(
    ctx: click.Context,
    asked: Training,
    *,
    strategy: str,
    init: Path | None,
    settings: dict[str, Any],
    folder: Path,
    resume: bool,
    tensorboard: bool,
) -> NoReturn:
    """Train a whole network on annotated images, save it and measure it; then exit."""
    from transferkit import estimators
    from transferkit.finetune.dense import choose_live_recipe, dense_strategy

    name = dense_task_of(asked.task).fine_tuner
    if name is None:
        raise click.UsageError(
            f"finetune is not for {asked.task}, which learns from frozen maps; run fit"
        )
    kind = getattr(estimators, name)
    # Says now what is wrong with them.
    choose_live_recipe(settings, dense_strategy(strategy), 1, kind.live_kind)
    network = {
        "head": asked.head,
        "head_options": asked.head_options,
        "neck": asked.options.pop("neck"),
        "neck_options": asked.options.pop("neck_parameters"),
    }
    listed, found = annotated_images(asked.images, asked.task, asked.options)
    model = _model(ctx, kind, strategy, init, network, asked.options)
    model.set_params(recipe=settings, folder=folder, tensorboard=tensorboard)
    with model.processes().first_alone():
        usable = model.usable(listed, found, extraction_mode(asked.on_error))
    parts = model.divided(usable, asked.test_size, asked.seed)
    is_first = model.processes().is_first
    if is_first:
        show_recipe()
    with telling_of_checkpoint(model.folder):
        model.fit_parts(usable, parts, resume=resume)
    measured = _told(model, asked, len(listed), usable, parts) if is_first else Measured()
    model.processes().wait()
    ctx.exit(1 if measured.has_failed else exit_code(usable.failures, asked.on_error))


def _told(model: Any, asked: Training, n_images: int, usable: Any, parts: Division) -> Measured:
    """Save and measure a trained model, and print what came of it."""
    measured = saved_and_measured(model, asked, usable, parts)
    # The saved model has the tuned weights now. If the start is kept, there are none.
    shutil.rmtree(model.folder_ / "backbone", ignore_errors=True)
    shutil.rmtree(model.folder_ / "head", ignore_errors=True)
    result = tuned_result(model, asked.out, n_images, parts, measured)
    result["failures"] = [{"name": f.name, "reason": f.reason} for f in usable.failures]
    if asked.as_json:
        print_json(result)
    else:
        print_tuned(result, parts, measured_pairs(model, measured, parts, parts.name))
    report_failures(usable.failures, n_images)
    report_unmeasured(measured, asked.out)
    return measured


def _model(
    ctx: click.Context,
    kind: Any,
    strategy: str,
    init: Path | None,
    network: dict[str, Any],
    options: dict[str, Any],
) -> Any:
    """The estimator that the options describe."""
    if init is not None:
        given = [flag for flag, name in _OF_INIT.items() if network.get(name)]
        given += [
            f"--{name.replace('_', '-')}"
            for name in ("features", "image_size", "storage")
            if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
        ]
        if given:
            raise click.UsageError(f"{given[0]} was given beside --init, which has its own")
    extractor = dense_extractor_from(ctx, options, kind.crop_mode)
    own = {name: value for name, value in network.items() if name != "head" or value is not None}
    model = kind(extractor, strategy, init=init, **own)
    model.suits_input = True
    return model
