"""How results are printed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import click

__all__ = ["print_json", "print_pairs", "print_plan", "print_table", "size_of"]


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        click.echo(f"{name:<{width}}  {value}")


def size_of(n_bytes: int) -> str:
    """Bytes with a unit."""
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
    images = [("images", f"{plan.n_images:,}, of which {plan.n_missing:,} are to be computed")]
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
            ("disk", size_of(plan.n_bytes)),
            ("slowest", f"{plan.slowest} ({', '.join(parts)} per image)"),
        ]
    )


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns of numbers are flush right."""
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    right = [all(_is_number(row[i]) for row in rows) and bool(rows) for i in range(len(header))]
    for row in [header, *rows]:
        cells = [
            str(cell).rjust(w) if r else str(cell).ljust(w)
            for cell, w, r in zip(row, widths, right, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _is_number(text: str) -> bool:
    return (
        text in ("", "-") or text.replace(",", "").replace(".", "", 1).removesuffix(" M").isdigit()
    )
