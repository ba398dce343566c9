"""``transferkit benchmark``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._dense import FINDING, TRAINED, annotation_options, is_dense
from transferkit.cli._options import (
    json_option,
    machine_options,
    place_from,
    place_options,
    plan_option,
    store_option,
)
from transferkit.cli._output import (
    counted,
    print_json,
    print_pairs,
    print_table,
    printable,
    size_of,
)
from transferkit.cli._training import any_task_option, group_option
from transferkit.tasks.dense import dense_task_of

if TYPE_CHECKING:
    from transferkit.benchmark import Board, TransferabilityScores

_FAILED = 3
# Columns beside the main metric, of tasks that find objects.
_SHOWN = ("ap50",)
# Their shots are images in all, and nothing is calibrated.
_OF_MAPS = ("mean_iou", "average_precision")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _shots(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    shots: list[int | None] = []
    for text in _names(value or ""):
        if text != "full" and not (text.isdigit() and int(text) > 0):
            raise click.BadParameter(f"{text!r}; write numbers or 'full', as in 1,5,10,full")
        shots.append(None if text == "full" else int(text))
    return tuple(shots)


@click.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option(
    "--backbones",
    required=True,
    help="Names with commas between (NAME@random: random weights), a .txt file, or a pattern.",
)
@click.option(
    "--protocols",
    help="Published protocols; without --heads transfer-logreg, and dinov2-linear-seg-4k for "
    f"segmentation. There is none for {FINDING}.",
)
@click.option(
    "--heads",
    default="",
    help="Heads, on the backbone's own geometry; of tasks that find objects, by default the one "
    "that fit takes.",
)
@click.option(
    "--features",
    default="",
    help="Instead of the protocols' own; or 'auto'. Of dense tasks 'pyramid', or layers as in "
    "stage2+stage3.",
)
@click.option(
    "--shots",
    callback=_shots,
    help="Images per class, or in all for dense tasks: 1,5,10,full.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="How many, where the seed draws shots or a hold-out.",
)
@any_task_option
@annotation_options
@group_option
@place_options
@click.option("--image-size", type=click.IntRange(1), help="Instead of the protocols' own, px.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of results.")
@click.option("--metrics", default="", help="Further metrics of the rows, as columns.")
@click.option("--csv", "as_csv", is_flag=True, help="Write OUT/rows.csv too.")
@click.option("--screen", "only_screen", is_flag=True, help="Rank by cheap hints, and stop.")
@store_option
@machine_options
@plan_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    datasets: tuple[str, ...],
    backbones: str,
    protocols: str | None,
    heads: str,
    features: str,
    shots: tuple[int | None, ...],
    seeds: int,
    task: str,
    annotations: Path | None,
    annotation_form: str | None,
    classes: Path | None,
    group_column: str | None,
    image_size: int | None,
    out: Path,
    metrics: str,
    as_csv: bool,
    only_screen: bool,
    only_plan: bool,
    as_json: bool,
    quiet: bool,
    **machine: Any,
) -> None:
    """Compare backbones on DATASETS (folders or CSVs, as for fit) under published protocols.

    With a dense task, such as segmentation, they are folders of images with masks or boxes.

    Every finished cell is a line of OUT/rows.jsonl and is not measured again; the same
    command goes on where it was stopped. No protocol sees the test part.
    """
    from transferkit import benchmark as b

    default = () if heads else b.default_protocols(task)
    want = b.Want(
        _names(protocols) if protocols else default,
        _names(heads) if heads or protocols else b.default_heads(task),
        _names(features),
        shots,
        seeds,
        () if image_size is None else (("image_size", image_size),),
    )
    b.check_protocols(want.protocols, task)
    names = b.named_backbones(backbones)
    place = place_from(machine)
    reading = _reading(task, datasets, annotations, annotation_form, classes)
    loaded = [
        b.load_dataset(source, task=task, group_column=group_column, **reading, **place)
        for source in datasets
    ]
    machine["progress"] = not quiet and sys.stderr.isatty()
    if only_plan:
        machine.pop("progress")
        _print_plan(b.plan_benchmark(loaded, names, want, **machine), as_json)
        return
    results = b.Results(out)
    if only_screen:
        for dataset in loaded:
            hints = b.screen(dataset, names, **machine)
            _print_hints(dataset.name, hints, b.leaderboards(results), as_json)
        return
    counts = {"done": 0, "kept": 0, "failed": 0}
    for finished in b.benchmark(loaded, names, results, want, **machine):
        counts[finished.status] += 1
        if not quiet and finished.status != "kept":
            cell = finished.cell
            shown = "all" if cell.shots is None else counted(cell.shots, "shot")
            click.echo(f"{finished.status}  {cell.backbone}  {cell.probe}  {shown}", err=True)
    if as_csv:
        results.to_csv()
    finds = is_dense(task) and dense_task_of(task).has_objects
    others = [name for name in _SHOWN if finds and (counts["done"] or counts["kept"])]
    boards = b.leaderboards(results, tuple(dict.fromkeys((*others, *_names(metrics)))))
    if as_json:
        lines = {dataset.name: dataset.line for dataset in loaded}
        documents = [board.to_dict() for board in boards]
        print_json({"cells": counts, "parts": lines, "boards": documents})
    else:
        for board in boards:
            _print_board(board)
        parts = [("parts", f"{dataset.name} {dataset.line}") for dataset in loaded]
        cells = ", ".join(f"{n} {what}" for what, n in counts.items())
        print_pairs([*parts, ("cells", cells)])
    ctx.exit(_FAILED if counts["failed"] else 0)


def _reading(
    task: str,
    datasets: tuple[str, ...],
    annotations: Path | None,
    form: str | None,
    classes: Path | None,
) -> dict[str, Any]:
    """Where annotations are and what they mean, as options of `load_dataset`."""
    given = {"annotations": annotations, "form": form, "names_of_classes": classes}
    named = {name: value for name, value in given.items() if value is not None}
    if named and not _learns_maps(task):
        raise click.UsageError(f"annotations are for --task {TRAINED}")
    if annotations is not None and len(datasets) > 1:
        raise click.UsageError(
            f"--annotations names those of one dataset, and {len(datasets)} were given; put them "
            "beside the images of each, or measure the datasets one by one"
        )
    return named


def _learns_maps(task: str) -> bool:
    return is_dense(task) and dense_task_of(task).has_network


def _print_board(board: Board) -> None:
    unit = "training image" if board.metric in _OF_MAPS else "shot"
    shots = "all training images" if board.shots is None else counted(board.shots, unit)
    seeds = f", {board.n_seeds} seeds" if board.n_seeds > 1 else ""
    tested = counted(board.n_test, "test image")
    baseline = "" if board.baseline is None else f"; baseline {100 * board.baseline:.1f} %"
    dataset = printable(board.dataset)
    click.echo(f"{dataset}, {board.probe}, {shots}{seeds}, {tested}{baseline}")
    has_ece = board.metric not in _OF_MAPS
    header = ["backbone", "feature", f"{board.metric} %", "±", "95 %", "group"]
    header += ["ECE", "scaled"] * has_ece
    others = list(board.places[0].others)
    rows = [
        [
            _short(p.backbone),
            p.feature,
            f"{100 * p.mean:.1f}",
            _percent(p.spread),
            f"{100 * p.interval[0]:.1f}–{100 * p.interval[1]:.1f}",
            p.group,
            *[_percent(value) for value in (p.ece, p.ece_scaled) if has_ece],
            *(_value(name, value) for name, value in p.others.items()),
            "; ".join(p.notes),
        ]
        for p in board.places
    ]
    print_table([*header, *others, ""], rows)
    click.echo()


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _value(name: str, value: float | None) -> str:
    """A metric as reports write it, or of those that only rows have with four digits."""
    from transferkit.metrics import Metric, get, names

    metric = get(name) if name in names() else Metric(name, name, (), lambda _: None)
    return "-" if value is None else metric.format(value)


def _short(backbone: str) -> str:
    return backbone.rpartition("/")[2] if backbone.startswith("local-dir:") else backbone


def _print_plan(planned: Any, as_json: bool) -> None:
    rows = [
        (
            _short(group.backbone),
            group.dataset.name,
            len(group.cells),
            plan.n_missing,
            plan.seconds,
            plan.n_bytes,
        )
        for group, plan in planned
    ]
    # All features of one pass stay in memory while its cells are measured.
    peak = max(
        (
            n_bytes / max(missing, 1) * len(g.dataset.images)
            for (g, _), (*_, missing, _, n_bytes) in zip(planned, rows, strict=True)
            if not _learns_maps(g.dataset.task)  # whose maps are read from the store
        ),
        default=0.0,
    )
    totals = {
        "passes": len(rows),
        "cells": sum(row[2] for row in rows),
        "extract_seconds": sum(row[4] for row in rows),
        "disk_bytes": sum(row[5] for row in rows),
        "peak_row_bytes": round(peak),
    }
    if as_json:
        print_json(totals)
        return
    header = ("backbone", "dataset", "cells", "to compute", "s", "disk")
    print_table(header, [(*map(str, r[:4]), f"{r[4]:.0f}", size_of(r[5])) for r in rows])
    print_pairs(
        [
            ("cells", f"{totals['cells']:,} in {counted(totals['passes'], 'pass', 'passes')}"),
            ("time", f"{totals['extract_seconds']:.0f} s to extract; the probes come on top"),
            ("disk", size_of(totals["disk_bytes"])),
            ("memory", _memory(totals["peak_row_bytes"])),
        ]
    )


def _memory(n_bytes: int) -> str:
    if not n_bytes:
        return "that of the rows in the store"
    return f"{size_of(n_bytes)} of rows at once, besides the network"


def _print_hints(
    dataset: str, hints: Sequence[TransferabilityScores], boards: Sequence[Board], as_json: bool
) -> None:
    from transferkit.benchmark import agreement

    # All images rather than few shots, where both were measured.
    known = sorted(boards, key=lambda board: board.shots is not None)
    measured = next((board for board in known if board.dataset == dataset), None)
    places = {} if measured is None else {p.backbone: p.mean for p in measured.places}
    agree = agreement(hints, places)
    if as_json:
        print_json({"hints": [dataclasses.asdict(hint) for hint in hints], "agreement": agree})
        return
    click.echo(f"{dataset}: hints, not results")
    print_table(
        ("backbone", "LogME", "H-score", "ridge leave-one-out %"),
        [
            (_short(h.backbone), f"{h.logme:.3f}", f"{h.h_score:.2f}", f"{100 * h.ridge:.1f}")
            for h in hints
        ],
    )
    if agree and measured is not None:
        taus = ", ".join(f"{name} {tau:.2f}" for name, tau in agree.items())
        click.echo(f"rank agreement (Kendall's τ) with {measured.probe}: {taus}")
