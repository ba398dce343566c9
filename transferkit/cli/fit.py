"""``transferkit fit``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from transferkit.cli._duplicates import described, duplicates
from transferkit.cli._options import (
    backbone_options,
    exit_code,
    extractor_from,
    image_options,
    images_from,
    json_option,
    machine_options,
    on_error_option,
    plan_option,
    report_failures,
    store_option,
    values_option,
)
from transferkit.cli._output import counted, print_json, print_pairs, print_plan
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


@click.command()
@click.argument("images")
@backbone_options
@task_option
@click.option("--head", default="linear", show_default=True, help="See `transferkit heads`.")
@values_option(
    "--head-arg",
    "head_parameters",
    help="Parameter of the head, such as C=0.1; repeatable.",
    example="C=0.1",
)
@out_option
@force_option
@test_size_option
@click.option("--seed", default=0, show_default=True, help="Seed of that split.")
@store_option
@image_options
@machine_options
@on_error_option
@plan_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    images: str,
    task: str,
    head: str,
    head_parameters: dict[str, Any],
    out: Path,
    force: bool,
    test_size: float,
    seed: int,
    on_error: str,
    only_plan: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model on labelled IMAGES and save it.

    IMAGES is a folder with one folder per class, or with train/, val/ and test/ folders of
    such folders, or a CSV with the columns path, label and optionally split. Without splits
    a stratified part is held out and the model is measured on it.
    """
    from transferkit.artifacts import check_writable
    from transferkit.estimators import TransferClassifier, TransferRegressor
    from transferkit.estimators.extractor import check_vectors
    from transferkit.estimators.targets import training_parts
    from transferkit.heads import create_head

    check_writable(out, overwrite=force)
    estimator = create_head(head, task, **head_parameters)
    extractor = extractor_from(options)
    listed = images_from(images, options)
    training_parts(listed, None, None, task)  # says now what is wrong with the labels
    check_vectors(extractor.feature_names)
    if only_plan:
        print_plan(extractor.plan(listed), as_json=as_json)
        return
    mode = "raise" if on_error == "raise" else "skip"
    # One pass over everything: it tells which images can be read before any is split off.
    extraction = extractor.extract(listed, on_error=mode, keep_rows=False)
    train, test = split_images(listed, extraction, test_size, seed, task)
    extractor.progress = False
    start = time.perf_counter()
    kind = TransferRegressor if task == "regression" else TransferClassifier
    model = kind(extractor, head=estimator).fit(train)
    seconds = time.perf_counter() - start
    part = measured_part(listed, test_size, seed)
    report = save_measured(model, out, overwrite=force, source=images, part=part, test=test)
    n_test = len(test) if test is not None else 0
    result = {
        "model": str(out),
        "images": len(listed),
        "train": len(model.train_ids_),
        "test": n_test,
        "task": task,
        "classes": (model.target_names_ if task == "regression" else model.classes_).tolist(),
        "features": list(extraction.rows),
        "head": head,
        "fit_seconds": round(seconds, 3),
        "chosen": _chosen(model.head_),
        "report": None if report is None else report.to_dict(),
        "failures": [{"name": f.name, "reason": f.reason} for f in extraction.failures],
    }
    readable = listed.select(extraction.kept)
    if as_json:
        same = [[readable.names[i] for i in group] for group in duplicates(extraction.ids)]
        print_json(result | {"duplicates": same})
    else:
        twins = described(readable, extraction.ids)
        _print(result, extraction.summary(), twins, measured_line(report, n_test, part))
    report_failures(extraction.failures, len(listed))
    ctx.exit(exit_code(extraction.failures, on_error))


def _chosen(head: Any) -> dict[str, Any]:
    """What the head chose by itself, where it says so."""
    return {
        name.removesuffix("_"): getattr(head, name)
        for name in ("C_", "C_on_edge_", "alpha_", "converged_", "n_iter_")
        if isinstance(getattr(head, name, None), int | float | bool)
    }


def _print(
    result: dict[str, Any], summary: str, twins: list[tuple[str, str]], test: tuple[str, str]
) -> None:
    chosen = result["chosen"]
    head = f"{result['head']}, fitted in {result['fit_seconds']:.1f} s"
    for name in ("C", "alpha"):
        if name in chosen:
            head += f"; {name} = {chosen[name]:.3g}"
    head += " (edge of the grid)" * chosen.get("C_on_edge", False)
    head += "; did not converge" * (not chosen.get("converged", True))
    kind = counted(len(result["classes"]), "class", "classes")
    if result["task"] == "regression":
        named = [name for name in result["classes"] if isinstance(name, str)]
        kind = f"regression of {', '.join(named)}" if named else "regression"
    pairs = [
        ("images", f"{result['images']:,} ({kind})"),
        ("features", f"{', '.join(result['features'])}; {summary}"),
        *twins,
        ("head", head),
        test,
        ("model", f"{result['model']} (trained on {counted(result['train'], 'image')})"),
    ]
    print_pairs(pairs)
