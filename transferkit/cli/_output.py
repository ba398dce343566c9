"""Print results as text, tables and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import click

from transferkit.report.text import UNPRINTABLE, counted, pair_lines, printable, table_lines

__all__ = [
    "counted",
    "json_text",
    "print_json",
    "print_pairs",
    "print_plan",
    "print_table",
    "printable",
    "size_of",
]


def json_text(value: Any, *, indent: int | None = None) -> str:
    r"""Write JSON without control characters, which any program reads as the given value.

    The bytes of a file name that aren't UTF-8 become escapes such as ``\udce9``, which
    Python's `json.loads` and `os.fsencode` turn back.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return UNPRINTABLE.sub(lambda m: m[0] if m[0] == "\n" else f"\\u{ord(m[0]):04x}", text)


def print_json(value: Any) -> None:
    """Print one JSON document, in UTF-8 wherever it goes."""
    click.echo(json_text(value, indent=2).encode())


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    for line in pair_lines(pairs):
        click.echo(line)


def size_of(n_bytes: int) -> str:
    """Write a number of bytes with a unit."""
    size = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def print_plan(plan: Any, *, as_json: bool) -> None:
    """Print what an extraction would take."""
    if as_json:
        print_json(dataclasses.asdict(plan))
        return
    are = "is" if plan.n_missing == 1 else "are"
    what = f"{plan.n_images:,}, of which {plan.n_missing:,} {are} to be computed"
    if plan.n_missing > plan.n_images:  # of each image several views
        what = f"{plan.n_images:,}; with their changed views {plan.n_missing:,} are to be computed"
    images = [("images", what)]
    if not plan.n_missing:
        print_pairs([*images, ("time", "none: everything is in the store")])
        return
    minutes, seconds = divmod(round(plan.seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = (f"{part} {1000 * s:.1f} ms" for part, s in plan.seconds_per_image.items())
    print_pairs(
        [
            *images,
            ("time", f"{hours}:{minutes:02}:{seconds:02} at {plan.images_per_second:.1f} images/s"),
            ("disk", _disk(plan)),
            *_maps(plan),
            ("slowest", f"{plan.slowest} ({', '.join(parts)} per image)"),
        ]
    )


def _disk(plan: Any) -> str:
    """Bytes on the disk, and how many are free if these aren't enough."""
    text = size_of(plan.n_bytes)
    if plan.n_bytes_free is not None and plan.n_bytes > plan.n_bytes_free:
        text += f", but only {size_of(plan.n_bytes_free)} are free"
    return text


def _maps(plan: Any) -> list[tuple[str, str]]:
    """Shapes of maps, and how many bytes narrower storage would save."""
    if not plan.maps:
        return []
    shapes = (f"{name} {' × '.join(map(str, shape))}" for name, shape in plan.maps.items())
    pairs = [("maps", ", ".join(shapes))]
    if plan.narrower:
        sizes = (f"--storage {name} {size_of(n)}" for name, n in plan.narrower.items())
        pairs.append(("hint", f"maps are large; {', '.join(sizes)}"))
    return pairs


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns of numbers are flush right."""
    for line in table_lines(header, rows):
        click.echo(line)
