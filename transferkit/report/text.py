"""Reports as lines of text, for a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transferkit.metrics import TaskReport

__all__ = ["counted", "pair_lines", "printable", "report_lines", "table_lines"]

# What would move the cursor, colour the terminal, break the line, turn the direction of the
# text, or can't be encoded: bytes of a file name that aren't UTF-8 are lone surrogates.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, *, keep: str = "") -> str:
    r"""Escape text so that a terminal shows it and doesn't obey it. This is for others' names.

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
    return UNPRINTABLE.sub(lambda m: m[0] if m[0] in keep else _escaped(m[0]), text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte, as Python's surrogateescape hides it
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Write a number of things, such as ``1 image`` or ``2,062 images``.

    Examples
    --------
    >>> counted(1, "image"), counted(2062, "image"), counted(2, "class", "classes")
    ('1 image', '2,062 images', '2 classes')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def pair_lines(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Write names and values in two columns.

    Examples
    --------
    >>> pair_lines([("images", "3"), ("R²", "0.912")])
    ['images  3', 'R²      0.912']
    """
    pairs = [(printable(name), printable(value)) for name, value in pairs]
    width = max(len(name) for name, _ in pairs)
    return [f"{name:<{width}}  {value}" for name, value in pairs]


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    r"""Write a table, with columns of numbers flush right.

    Examples
    --------
    >>> print("\n".join(table_lines(("head", "s"), [("knn", "0.1"), ("linear", "12.0")])))
    head       s
    knn      0.1
    linear  12.0
    """
    header = [printable(str(cell)) for cell in header]
    rows = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    right = [all(_is_number(row[i]) for row in rows) and bool(rows) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [
            cell.rjust(w) if r else cell.ljust(w)
            for cell, w, r in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _is_number(text: str) -> bool:
    return (
        text in ("", "-") or text.replace(",", "").replace(".", "", 1).removesuffix(" M").isdigit()
    )


def report_lines(report: TaskReport, n_left_out: int = 0) -> list[str]:
    """Write a report of any task: its metrics with their baselines, then its tables.

    Parameters
    ----------
    report : TaskReport
        From `transferkit.metrics`.
    n_left_out : int, default=0
        Images that were not measured, because the model was trained on them.
    """
    note = f" ({n_left_out:,} that the model was trained on left out)" if n_left_out else ""
    metrics = [(row.metric.title, row.text()) for row in report.rows()]
    lines = pair_lines([("images", f"{report.n:,}{note}"), *metrics, *report.notes()])
    for table in report.tables():
        lines += ["", *([table.title] if table.title else [])]
        lines += table_lines(table.header, table.rows)
    return lines
