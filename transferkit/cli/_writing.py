r"""Write one line per image as CSV, JSON Lines or Parquet. A file is written whole or not at all.

A file name is bytes, and needn't be UTF-8. CSV holds the bytes themselves. JSON, which is text,
holds each byte that isn't UTF-8 as an escape (``\udce9`` is the byte E9), which Python's
`json.loads` and `os.fsencode` turn back. Parquet's text must be UTF-8: there it is written as
``\\xe9``, and a column ``path_bytes`` holds the bytes.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from transferkit.cli._output import json_text, printable

__all__ = ["check_file", "form_of", "format_option", "out_file_option", "write_lines"]

F = TypeVar("F", bound=Callable[..., Any])
_FORMS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl", "parquet"]),
    help="Form of the result.  [default: by --out's ending, else csv]",
)


def out_file_option(help: str) -> Callable[[F], F]:
    """Option --out FILE."""
    return click.option("--out", type=click.Path(path_type=Path), help=help)


def form_of(form: str | None, out: Path | None) -> str:
    """Format that the option names, or else that the file's ending stands for."""
    chosen = form or _FORMS.get("" if out is None else out.suffix.lower(), "csv")
    if chosen == "parquet":
        if out is None:
            raise click.UsageError("--format parquet needs a file: give --out FILE")
        _pyarrow()
    return chosen


def check_file(out: Path) -> None:
    """Raise an error before anything is computed if the result can't be written."""
    from transferkit.folders import check_folder

    if out.is_dir():
        raise IsADirectoryError(f"--out {str(out)!r} is a folder; give a file")
    if _is_special(out):
        return
    check_folder(out.resolve().parent, f"{str(out)!r} can't be written")
    out.resolve().parent.mkdir(parents=True, exist_ok=True)


def write_lines(out: Path | None, lines: Sequence[dict[str, Any]], form: str) -> None:
    """Write one line per image.

    Parameters
    ----------
    out : Path or None
        The file, replaced in one step when all is written; None for stdout.
    lines : sequence of dict
        All with the same keys. A list is several labels; a dictionary becomes a column
        ``key:name`` for each of its values, except in JSON.
    form : {"csv", "jsonl", "parquet"}
        From `form_of`.
    """
    if form == "parquet":
        content = _parquet(lines)
    elif form == "jsonl":
        content = "".join(json_text(line) + "\n" for line in lines).encode()
    else:
        rows = _flat(lines)
        if out is None and sys.stdout.isatty():
            # A terminal obeys control characters, so they are escaped there, and only there.
            rows = [{printable(k): _printable_value(v) for k, v in row.items()} for row in rows]
        content = _csv(rows)
    if out is None:
        # Bytes, because stdout's own encoding may not have all characters of the names.
        click.echo(content, nl=False)
    elif _is_special(out):
        out.write_bytes(content)
    else:
        _replace(out.resolve(), content)  # a link is followed, not replaced


def _is_special(out: Path) -> bool:
    """Whether it is a device or a pipe, which must not be replaced by a file."""
    return out.exists() and not out.is_file()


def _replace(out: Path, content: bytes) -> None:
    from transferkit.files import write_whole

    mode = out.stat().st_mode if out.exists() else None
    write_whole(out, [content])
    if mode is not None:
        out.chmod(mode & 0o7777)


def _printable_value(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    text = _csv_row(list(rows[0])) + "".join(_csv_row([*row.values()]) for row in rows)
    return _bytes(text)


def _csv_row(values: Sequence[Any]) -> str:
    # With this end of a line both its characters are quoted; with "\n" alone a "\r" isn't,
    # and a name that holds one would end its row for a reader of the file.
    row = io.StringIO()
    csv.writer(row, lineterminator="\r\n").writerow(values)
    return row.getvalue().removesuffix("\r\n") + "\n"


def _flat(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines as columns of single values: the same ones in every line, in the same order."""
    nested: dict[str, list[str]] = {}
    for line in lines:
        for key, value in line.items():
            if isinstance(value, dict):
                nested.setdefault(key, list(value))
    rows = []
    for line in lines:
        row: dict[str, Any] = {}
        for key, value in line.items():
            if key in nested:
                column = _COLUMNS.get(key, key)
                row |= {f"{column}:{name}": (value or {}).get(name) for name in nested[key]}
            elif key not in _COLUMNS:
                row[key] = ";".join(value) if isinstance(value, list) else value
        rows.append(row)
    return rows


# Dictionaries whose columns are called otherwise; where no line has one, there are none.
_COLUMNS = {"probabilities": "proba"}


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ValueError(
            "--format parquet needs pyarrow, which isn't installed; run pip install "
            "'transferkit[parquet]'"
        ) from error
    return pyarrow


def _parquet(lines: Sequence[dict[str, Any]]) -> bytes:
    pa = _pyarrow()
    from pyarrow import parquet

    rows = _flat(lines)
    columns = {_utf8(name): _one_type([_utf8(row[name]) for row in rows]) for name in rows[0]}
    if columns["path"] != [row["path"] for row in rows]:
        columns["path_bytes"] = [_bytes(row["path"]) for row in rows]
    # A column without any value needs a type too.
    columns["error"] = pa.array(columns["error"], pa.string())
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file)
    return file.getvalue()


def _one_type(values: list[Any]) -> list[Any]:
    """Values of one column, as texts if labels of several types stand in it."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) < 2 or kinds <= {int, float}:
        return values
    return [None if value is None else str(value) for value in values]


def _utf8(value: Any) -> Any:
    """A text with the bytes that aren't UTF-8 as ``\\xe9``; anything else as it is."""
    return _bytes(value).decode("utf-8", "backslashreplace") if isinstance(value, str) else value


def _bytes(text: str) -> bytes:
    """UTF-8 with the bytes of file names as they are; surrogates that are no bytes escaped."""
    return re.sub("[\ud800-\udc7f\udd00-\udfff]", lambda m: f"\\u{ord(m[0]):04x}", text).encode(
        "utf-8", "surrogateescape"
    )
