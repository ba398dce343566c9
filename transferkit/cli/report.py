"""``transferkit report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from transferkit.cli._options import json_option
from transferkit.cli._output import counted, print_json, print_pairs, size_of
from transferkit.files import failed_write

if TYPE_CHECKING:
    from transferkit.benchmark import Results

# What every row of a benchmark has had since its first version.
_NEEDS = {"cell", "status", "dataset", "backbone", "probe", "feature", "shots", "seed"}


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page; what is there is replaced.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="A further metric of the rows, as a column; repeatable.",
)
@json_option
def command(results: Path, out: Path, metrics: tuple[str, ...], as_json: bool) -> None:
    """Write one page of RESULTS, the folder of `transferkit benchmark --out`.

    The page is one file that needs no network: leaderboards, accuracy against speed and width,
    learning curves, layers, classes, what failed, and how it was measured.
    """
    found = _results(results)
    if out.is_dir():
        raise click.UsageError(f"{str(out)!r} is a folder; give --out the name of a file")
    from transferkit.report.benchmark_page import benchmark_page

    page = benchmark_page(found, metrics)
    try:
        page.write(out)
    except OSError as error:
        raise failed_write(out, error, "the page") from error
    n_bytes, n_cells = out.stat().st_size, len(found.rows())
    if as_json:
        print_json({"page": str(out), "bytes": n_bytes, "cells": n_cells})
    else:
        print_pairs([("page", f"{out} ({size_of(n_bytes)})"), ("of", counted(n_cells, "cell"))])


def _results(path: Path) -> Results:
    """Results of a folder that has some.

    Raises
    ------
    ValueError
        If it has none.
    """
    from transferkit.benchmark import Results

    write = "write one with: transferkit benchmark DATASET --backbones NAMES --out RESULTS"
    if not path.is_dir():
        what = "is a file" if path.exists() else "isn't there"
        raise ValueError(f"{str(path)!r} {what}; RESULTS is a folder of results: {write}")
    if not (path / "rows.jsonl").is_file():
        raise ValueError(f"{str(path)!r} holds no results (no rows.jsonl); {write}")
    results = Results(path)
    try:
        rows = results.rows()
    except (LookupError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"rows.jsonl in {str(path)!r} isn't a benchmark's; {write}") from error
    if not rows:
        raise ValueError(f"{str(path)!r} holds no finished cell yet; {write}")
    if lacking := _NEEDS - set(rows[0]):
        raise ValueError(
            f"rows.jsonl in {str(path)!r} isn't a benchmark's: rows without "
            f"{', '.join(sorted(lacking))}; {write}"
        )
    return results
