"""`benchmark_page`: the rows of a benchmark as one page to decide from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from transferkit.benchmark import Board, Results, leaderboards
from transferkit.protocols import create_protocol
from transferkit.protocols.segmentation import (
    create_segmentation_protocol,
    segmentation_protocol_names,
)
from transferkit.report import benchmark_boards
from transferkit.report.benchmark_boards import board_parts, board_title, summary_parts
from transferkit.report.benchmark_classes import class_parts
from transferkit.report.benchmark_curves import (
    images_per_second,
    layer_parts,
    learning_parts,
    trade_off_parts,
)
from transferkit.report.benchmark_names import short_names, with_interval
from transferkit.report.page import CellValue, DataTable, Fold, Page, Part, Section, Text
from transferkit.report.text import counted

__all__ = ["benchmark_page"]

Rows = Sequence[Mapping[str, Any]]
Names = Mapping[str, str]


def benchmark_page(results: Results, metrics: Sequence[str] = ()) -> Page:
    """Make a page of a benchmark's results.

    Parameters
    ----------
    results : Results
        Rows and predictions; those of older versions tell less, and the page says so.
    metrics : sequence of str, default=()
        Further metrics of the rows, as columns of the leaderboards.

    Returns
    -------
    Page
        Leaderboards, accuracy against speed and width, learning curves, layers, classes,
        failures, and how it was measured.
    """
    rows = results.rows()
    boards = leaderboards(results, metrics)
    short = short_names(row["backbone"] for row in rows)
    done = [row for row in rows if row["status"] == "done"]
    datasets = list(dict.fromkeys(board.dataset for board in boards))
    about = "Each backbone, probe and number of images on all datasets that have it."
    sections = [Section("Datasets", summary_parts(boards, short), about)]
    for dataset in datasets:
        of_dataset = _ordered([board for board in boards if board.dataset == dataset])
        its_rows = [row for row in done if row["dataset"] == dataset]
        sections += _sections(of_dataset, its_rows, results, short, dataset * (len(datasets) > 1))
    failed = [row for row in rows if row["status"] != "done"]
    sections += [_failures(failed, short), _method(rows, done, short)]
    names = ", ".join(dict.fromkeys(row["dataset"] for row in rows))
    return Page(f"Benchmark of {names}", sections, _facts(boards, rows, short))


def _ordered(boards: list[Board]) -> list[Board]:
    """Most images first, so that the first leaderboard is the one to decide from."""
    return sorted(boards, key=lambda b: (b.shots is not None, -(b.shots or 0), -len(b.places)))


def _sections(
    boards: Sequence[Board], rows: Rows, results: Results, short: Names, dataset: str
) -> list[Section]:
    """Sections of one dataset, which is named where there are several."""
    first = boards[0]
    of_first = board_title(first)

    def title(text: str) -> str:
        return f"{dataset}: {text}" if dataset else text[0].upper() + text[1:]

    return [
        Section(
            title("leaderboards"),
            board_parts(boards, short),
            benchmark_boards.ABOUT,
        ),
        Section(
            title("speed and width"),
            trade_off_parts(first, rows, short),
            f"{of_first}. Speed is that of the extraction that this benchmark did, with reading "
            "and decoding, and depends on the machine. Nothing on the Pareto front is beaten in "
            "one respect by a backbone that is as good in the other.",
        ),
        Section(
            title("learning curves"),
            learning_parts(boards, rows, short),
            "Means over seeds with 95 % intervals.",
        ),
        Section(
            title("layers"),
            layer_parts(boards, rows, short),
            "Features of one network, from the input to the output.",
        ),
        Section(title("classes"), class_parts(first, results, rows, short), f"{of_first}."),
    ]


def _facts(boards: Sequence[Board], rows: Rows, short: Names) -> dict[str, str]:
    facts: dict[str, str] = {}
    for dataset in list(dict.fromkeys(board.dataset for board in boards))[:3]:
        board = _ordered([board for board in boards if board.dataset == dataset])[0]
        best = board.places[0]
        value = with_interval(board.metric, best.mean, best.interval)
        facts[f"best on {dataset}, {board_title(board)}"] = f"{value}, {short[best.backbone]}"
    failed = sum(row["status"] != "done" for row in rows)
    counts = {
        "backbone": len(short),
        "dataset": len({row["dataset"] for row in rows}),
        "probe": len({row["probe"] for row in rows}),
    }
    cells = f"{len(rows) - failed:,} done" + f", {failed:,} failed" * bool(failed)
    tested = sorted({board.n_test for board in boards})
    days = sorted({row["date"][:10] for row in rows if row.get("date")})
    facts |= {f"{name}s": f"{n:,}" for name, n in counts.items()}
    facts |= {"cells": cells}
    if tested:
        facts["test images"] = " to ".join(f"{n:,}" for n in dict.fromkeys((tested[0], tested[-1])))
    if days:
        facts["measured"] = " to ".join(dict.fromkeys((days[0], days[-1])))
    return facts


# ---- what failed --------------------------------------------------------------------


def _failures(failed: Rows, short: Names) -> Section:
    rows: list[list[CellValue]] = [
        [
            row["dataset"],
            short[row["backbone"]],
            row["probe"],
            row["feature"],
            "all" if row["shots"] is None else str(row["shots"]),
            "" if row["seed"] is None else str(row["seed"]),
            row.get("error", ""),
        ]
        for row in failed
    ]
    header = ["dataset", "backbone", "probe", "features", "shots", "seed", "reason"]
    parts = [DataTable(header, rows)] if rows else []
    return Section("Failed", parts, f"{counted(len(rows), 'cell')} could not be measured.")


# ---- how it was measured ------------------------------------------------------------


def _method(rows: Rows, done: Rows, short: Names) -> Section:
    parts: list[Part] = []
    if done:
        parts += [_parts_table(done), _backbones_table(done, short)]
        parts += [*_protocols(done), _versions(done)]
    else:
        parts.append(Text("No cell is done yet.", is_warning=True))
    return Section(
        "How it was measured",
        parts if rows else [],
        "No protocol sees the test images; test images with a copy among the others are left out.",
        is_folded=bool(done),
    )


def _parts_table(done: Rows) -> DataTable:
    """Images that each probe was trained on, chosen by and measured on."""
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in done:
        found.setdefault((row["dataset"], row["probe"], row["shots"]), []).append(row)
    table: list[list[CellValue]] = []
    for (dataset, probe, shots), each in found.items():
        deviates = sorted({what for row in each for what in row["deviates"]})
        table.append(
            [
                dataset,
                each[0]["task"],
                probe,
                "all" if shots is None else str(shots),
                *(_span([row.get(key) for row in each]) for key in ("n_train", "n_val", "n_test")),
                len({row["seed"] for row in each}),
                ", ".join(deviates) if each[0]["kind"] == "protocol" else "",
                sum(row["fit_seconds"] for row in each) / len(each),
            ]
        )
    header = ["dataset", "task", "probe", "shots", "trained on", "chosen on", "measured on"]
    header += ["seeds", "deviates from the publication in", "mean seconds to fit"]
    return DataTable(header, table, "Images")


def _span(numbers: Sequence[int | None]) -> str | int | None:
    known = sorted({n for n in numbers if n is not None})
    if not known:
        return None
    return known[0] if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"


def _backbones_table(done: Rows, short: Names) -> DataTable:
    speeds = images_per_second(done)
    found = {(row["backbone"], *row["image_size"], row["crop_mode"]): row for row in done}
    table: list[list[CellValue]] = [
        [
            short[row["backbone"]],
            row["architecture"],
            row["weights"][:20],
            " × ".join(map(str, row["image_size"])),
            f"{row['crop_mode']}, {row['crop_pct']:g}",
            row["interpolation"],
            speeds.get(row["backbone"]),
            row.get("device"),
            row.get("machine"),
        ]
        for row in found.values()
    ]
    header = ["backbone", "architecture", "weights", "input, px", "crop", "interpolation"]
    return DataTable([*header, "images/s", "device", "machine"], table, "Backbones")


def _protocols(done: Rows) -> list[Part]:
    """Settings of each published protocol, as they were trained with."""
    probes = dict.fromkeys(row["probe"] for row in done if row["kind"] == "protocol")
    parts: list[Part] = []
    for probe in probes:
        of_maps = probe in segmentation_protocol_names()
        settings = (create_segmentation_protocol if of_maps else create_protocol)(probe).settings
        table = [
            [field.name, str(getattr(settings, field.name))]
            for field in dataclasses.fields(settings)
        ]
        parts.append(Fold(f"Settings of {probe}", [DataTable(["setting", "value"], table)]))
    return parts


def _versions(done: Rows) -> DataTable:
    found: dict[str, dict[str, None]] = {}
    for row in done:
        for name, version in row.get("versions", {}).items():
            found.setdefault(name, {})[version] = None
    table = [[name, ", ".join(versions)] for name, versions in found.items()]
    return DataTable(["library", "version"], table, "Versions")
