"""How results are printed."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any

import click

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

# What would move the cursor, colour the terminal, break the line, turn the direction of the
# text, or can't be encoded: bytes of a file name that aren't UTF-8 are lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, *, keep: str = "") -> str:
    r"""Text that a terminal shows and doesn't obey; for names that others gave.

    Parameters
    ----------
    text : str
        Anything.
    keep : str, default=""
        Characters that stay as they are, such as line ends.

    Examples
    --------
    >>> print(printable("cat\x1b[2J.jpg"))
    cat\x1b[2J.jpg
    """
    return _UNPRINTABLE.sub(lambda m: m[0] if m[0] in keep else _escaped(m[0]), text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte, as Python's surrogateescape hides it
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """So many of something, as in ``1 image`` and ``2,062 images``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def json_text(value: Any, *, indent: int | None = None) -> str:
    r"""JSON that a terminal doesn't obey, and any program reads as the value that was given.

    The bytes of a file name that aren't UTF-8 become escapes such as ``\udce9``, which
    Python's `json.loads` and `os.fsencode` turn back.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda m: m[0] if m[0] == "\n" else f"\\u{ord(m[0]):04x}", text)


def print_json(value: Any) -> None:
    """Print one JSON document, in UTF-8 wherever it goes."""
    click.echo(json_text(value, indent=2).encode())


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    pairs = [(printable(name), printable(value)) for name, value in pairs]
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
    are = "is" if plan.n_missing == 1 else "are"
    images = [("images", f"{plan.n_images:,}, of which {plan.n_missing:,} {are} to be computed")]
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
    header = [printable(str(cell)) for cell in header]
    rows = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    right = [all(_is_number(row[i]) for row in rows) and bool(rows) for i in range(len(header))]
    for row in [header, *rows]:
        cells = [
            cell.rjust(w) if r else cell.ljust(w)
            for cell, w, r in zip(row, widths, right, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _is_number(text: str) -> bool:
    return (
        text in ("", "-") or text.replace(",", "").replace(".", "", 1).removesuffix(" M").isdigit()
    )
