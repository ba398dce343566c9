"""``transferkit fit``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._dense import (
    Training,
    check_only_vectors,
    default_heads,
    dense_options,
    is_dense,
)
from transferkit.cli._dense_fit import fit_dense
from transferkit.cli._duplicates import described, duplicates
from transferkit.cli._folds import (
    check_folds,
    check_no_folds,
    check_no_splits,
    fold_summary,
    folds_line,
    models_of_folds,
    write_out_of_fold,
)
from transferkit.cli._options import (
    backbone_options,
    exit_code,
    extraction_mode,
    extractor_from,
    images_from,
    json_option,
    plan_option,
    report_failures,
    run_options,
    values_option,
)
from transferkit.cli._output import counted, print_json, print_pairs, print_plan
from transferkit.cli._training import (
    any_task_option,
    divided,
    force_option,
    group_option,
    measured_pairs,
    out_option,
    read_in_order,
    report_unmeasured,
    save_then_measure,
    test_size_option,
)

if TYPE_CHECKING:
    from transferkit.datasets import Dataset, Division
    from transferkit.estimators import FeatureExtractor
    from transferkit.extract import Extraction
    from transferkit.images import ImageSet


@click.command()
@click.argument("images")
@backbone_options
@any_task_option
@click.option(
    "--head",
    help=f"See `transferkit heads`.  [default: linear; {default_heads()}]",
)
@values_option(
    "--head-arg",
    "head_parameters",
    help="Parameter of the head, such as C=0.1; repeatable.",
    example="C=0.1",
)
@dense_options
@out_option
@force_option
@test_size_option
@click.option("--seed", default=0, show_default=True, help="Seed of that split, or of the folds.")
@click.option(
    "--folds",
    "n_folds",
    type=click.IntRange(2),
    help="Measure on every image, by so many models that weren't trained on it; the model that "
    "is saved is trained on all.",
)
@click.option(
    "--out-of-fold",
    type=click.Path(path_type=Path),
    help="CSV for what those models predict.",
)
@group_option
@click.option(
    "--memory",
    type=click.FloatRange(0),
    metavar="GB",
    help="What features may take in memory; heads read more than that block by block, if they "
    "can.  [default: a quarter of what is available]",
)
@run_options
@plan_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    images: str,
    task: str,
    head: str | None,
    head_parameters: dict[str, Any],
    out: Path,
    force: bool,
    test_size: float,
    seed: int,
    n_folds: int | None,
    out_of_fold: Path | None,
    memory: float | None,
    on_error: str,
    only_plan: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model on labelled IMAGES and save it.

    IMAGES is a folder with one folder per class, or with train/, val/ and test/ folders of
    such folders, or a CSV with the columns path, label and optionally split. The test part is
    measured, and val chooses hyper-parameters; without a test part val is measured. Without
    splits a stratified part is held out and the model is measured on it.

    Dense tasks learn from maps: segmentation a class for every pixel; detection, instances and
    oriented the objects' boxes, masks or oriented boxes; anomaly how strange a pixel is. Their
    masks or boxes are found beside IMAGES, or named by --annotations.
    """
    from transferkit.artifacts import check_writable
    from transferkit.estimators import estimator_of
    from transferkit.estimators.extractor import check_vectors
    from transferkit.estimators.measuring import measure
    from transferkit.estimators.targets import training_parts
    from transferkit.heads import create_head
    from transferkit.memory import memory_for_features
    from transferkit.tasks import task_of

    check_folds(ctx, n_folds, out_of_fold)
    if is_dense(task):
        check_no_folds(n_folds, task)
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
        fit_dense(ctx, asked, only_plan=only_plan)
    check_only_vectors(options, task)
    head = head or task_of(task).default_head
    check_writable(out, overwrite=force)
    estimator = create_head(head, task_of(task).head_kind, **head_parameters)
    extractor = extractor_from(options)
    listed = images_from(images, options)
    training_parts(listed, None, None, task)  # says now what is wrong with the labels
    if n_folds:
        check_no_splits(listed)
    check_vectors(extractor.feature_names)
    if only_plan:
        print_plan(extractor.plan(listed), as_json=as_json)
        return
    bound = memory_for_features() if memory is None else int(memory * 1e9)
    extraction, readable, data, parts = _extracted(
        extractor, listed, task, 0 if n_folds else test_size, seed, on_error, bound
    )
    start = time.perf_counter()
    model = estimator_of(task)(extractor, head=estimator, task=task)
    model.fit_features(
        data.select(parts.train),
        validation=data.select(parts.validation) if len(parts.validation) else None,
    )
    seconds = time.perf_counter() - start
    told: dict[str, Any] = {}

    def measured_part() -> tuple[Any, ImageSet | None]:
        if not n_folds:
            part = data.select(parts.measured)
            return measure(model, part), part.images
        models = models_of_folds(model, data, n_folds, seed)
        told["folds"] = fold_summary(models, data)
        if out_of_fold is not None:
            write_out_of_fold(out_of_fold, models, data)
        return measure(models, data), data.images

    part = f"out of fold: {n_folds} folds, seed {seed}" if n_folds else parts.name
    measured = save_then_measure(
        model,
        out,
        measured_part if n_folds or len(parts.measured) else None,
        overwrite=force,
        source=images,
        part=part,
        reason=parts.why_not_measured(),
    )
    result = {
        "model": str(out),
        "images": len(listed),
        "train": len(model.train_ids_),
        "test": measured.n,
        "left_out": sum(parts.left_out.values()),
        "parts": None if n_folds else parts.line(),
        "task": task,
        "classes": model.output_names_.tolist(),
        "features": list(extraction.rows),
        "head": head,
        "fit_seconds": round(seconds, 3),
        "chosen": _chosen(model.head_),
        "report": None if measured.report is None else measured.report.to_dict(),
        "not_measured": measured.reason or None,
        "folds": told.get("folds"),
        "failures": [{"name": f.name, "reason": f.reason} for f in extraction.failures],
    }
    if as_json:
        same = [[readable.names[i] for i in group] for group in duplicates(extraction.ids)]
        print_json(result | {"duplicates": same})
    else:
        tests = measured_pairs(model, measured, parts, part)
        if told:
            tests.append(("folds", folds_line(told["folds"])))
        twins = described(readable, extraction.ids)
        _print(result, extraction.summary(), parts, twins, tests)
    report_failures(extraction.failures, len(listed))
    report_unmeasured(measured, out)
    ctx.exit(1 if measured.has_failed else exit_code(extraction.failures, on_error))


def _extracted(
    extractor: FeatureExtractor,
    images: ImageSet,
    task: str,
    test_size: float,
    seed: int,
    on_error: str,
    memory: int,
) -> tuple[Extraction, ImageSet, Dataset, Division]:
    """Extract; read every row once, or check it. Training and measured rows are parts of them."""
    from transferkit.store import MissingRows

    if extractor.store is not False:  # one object, which remembers which rows are damaged
        extractor.store = extractor.open_store()
    for is_last in (False, True):
        extraction = extractor.extract(
            images, on_error=extraction_mode(on_error), keep_rows="stored"
        )
        readable, parts = divided(images, extraction, task, test_size, seed)
        try:
            return extraction, readable, *read_in_order(readable, extraction, parts, memory)
        except MissingRows as error:
            if is_last:
                raise
            click.echo(f"Warning: {len(error.ids):,} rows are damaged; computing again", err=True)
    raise AssertionError("not reached")


def _chosen(head: Any) -> dict[str, Any]:
    """Hyper-parameters that the head chose by itself, if it tells them."""
    return {
        name.removesuffix("_"): getattr(head, name)
        for name in ("C_", "C_on_edge_", "alpha_", "converged_", "n_iter_")
        if isinstance(getattr(head, name, None), int | float | bool)
    }


def _print(
    result: dict[str, Any],
    summary: str,
    parts: Division,
    twins: list[tuple[str, str]],
    tests: list[tuple[str, str]],
) -> None:
    from transferkit.tasks import task_of

    chosen = result["chosen"]
    head = f"{result['head']}, fitted in {result['fit_seconds']:.1f} s"
    for name in ("C", "alpha"):
        if name in chosen:
            head += f"; {name} = {chosen[name]:.3g}"
    head += " (edge of the grid)" * chosen.get("C_on_edge", False)
    head += "; did not converge" * (not chosen.get("converged", True))
    kind = counted(len(result["classes"]), "class", "classes")
    if not task_of(result["task"]).has_classes:
        named = [name for name in result["classes"] if isinstance(name, str)]
        kind = f"{result['task']} of {', '.join(named)}" if named else result["task"]
    pairs = [
        ("images", f"{result['images']:,} ({kind})"),
        ("features", f"{', '.join(result['features'])}; {summary}"),
        *twins,
        *([("parts", parts.line())] if parts.roles is not None else []),
        ("head", head),
        *tests,
        ("model", f"{result['model']} (trained on {counted(result['train'], 'image')})"),
    ]
    print_pairs(pairs)
