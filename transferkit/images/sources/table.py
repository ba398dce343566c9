"""A table of images, CSV or Parquet: paths, labels and splits, as the user wrote them."""

import csv
import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferkit.images.imageset import ImageSet, Label
from transferkit.images.labels import clean_label
from transferkit.images.paths import in_either_form
from transferkit.images.sources._options import ListingOptions
from transferkit.images.sources.items import is_missing
from transferkit.images.splits import USUAL_NAMES, split_of

__all__ = [
    "HAS_GROUPS",
    "PATHS",
    "TABLE_SUFFIXES",
    "Table",
    "accepts",
    "column_names",
    "example",
    "listed",
    "read_table",
    "table_rows",
]

TABLE_SUFFIXES = (".csv", ".parquet")
"""Endings of the tables that are read."""

PATHS = f"a {' or '.join(TABLE_SUFFIXES)} file"
HAS_GROUPS = True

# Columns of these names may be missing. A column that was asked for by another name may not.
_OPTIONAL = ("label", "split")


@dataclass(frozen=True)
class Table:
    """The contents of a table.

    Parameters
    ----------
    paths : tuple of str
        As written.
    labels : tuple of tuples of str or None; optional
        One row per image, one entry per label column; None where it is empty.
    splits : tuple of str or None; optional
        As in `SPLITS`; None where it is empty.
    groups : tuple of str or None; optional
        As written; None where it is empty.
    """

    paths: tuple[str, ...]
    labels: tuple[tuple[str | None, ...], ...] | None
    splits: tuple[str | None, ...] | None
    groups: tuple[str | None, ...] | None = None


def accepts(given: Any) -> bool:
    """Whether a thing is the path of a file with a table's suffix."""
    if not isinstance(given, str | os.PathLike):
        return False
    path = Path(given)
    return path.suffix.lower() in TABLE_SUFFIXES and path.exists() and not path.is_dir()


def listed(given: Any, options: ListingOptions) -> ImageSet:
    """List the images of a table, in its order; paths are relative to its own folder."""
    path, label_column = Path(given), options.label_column
    columns = (label_column,) if isinstance(label_column, str) else tuple(label_column)
    columns = tuple(map(clean_label, columns))
    table = read_table(
        path, options.path_column, columns, options.split_column, options.group_column
    )
    labels: tuple[Label, ...] | None = table.labels
    if isinstance(label_column, str) and table.labels is not None:
        labels = tuple(row[0] for row in table.labels)
    items = tuple(in_either_form(path.parent / p) for p in table.paths)
    label_names = None if table.labels is None else columns
    return ImageSet(items, table.paths, labels, table.splits, label_names, table.groups)


def example(folder: Path, pictures: Sequence[np.ndarray]) -> Path:
    """Write pictures as files, and a table that names them with their classes."""
    lines = ["path,label"]
    for i, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{i}.png")
        lines.append(f"{i}.png,class {i % 2}")
    (folder / "images.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "images.csv"


def read_table(
    file: Path,
    path_column: str,
    label_columns: Sequence[str],
    split_column: str,
    group_column: str | None = None,
) -> Table:
    """Read the paths, labels and splits of a table.

    Parameters
    ----------
    file : Path
        A CSV with a header row, UTF-8, separated by commas; or a Parquet file, whose values
        become text as Python writes them (3 is ``"3"``, 3.0 is ``"3.0"``, null is empty).
    path_column, split_column : str
        Names of these columns; one called ``"split"`` may be missing.
    label_columns : sequence of str
        Names of the label columns; a single one called ``"label"`` may be missing.
    group_column : str, optional
        Name of the column of groups.

    Returns
    -------
    Table
        In the file's order.

    Raises
    ------
    ValueError
        If a column is missing or a line isn't what it should be; the message says which.
    """
    if not label_columns:
        raise ValueError("no label columns; give at least one name")
    lines = _lines(file)
    _, header = next(lines, (0, []))
    header = [clean_label(name) for name in header]
    if not header:
        raise ValueError(f"{str(file)!r} is empty; its first line must name its columns")
    path_at = _column(file, header, path_column, "path")
    label_at = [_column(file, header, name, "label") for name in label_columns]
    if len(label_columns) > 1 and None in label_at:  # "label" is optional only by itself
        raise _missing(file, header, label_columns[label_at.index(None)], "label")
    split_at = _column(file, header, split_column, "split")
    group_at = None if group_column is None else _column(file, header, group_column, "group")
    if path_at is None:
        raise _missing(file, header, path_column, "path")
    if group_column is not None and group_at is None:  # one called "label" or "split"
        raise _missing(file, header, group_column, "group")

    paths, labels, splits, groups = [], [], [], []
    for number, row in lines:
        if len(row) != len(header):
            raise ValueError(
                f"{str(file)!r}, line {number}: {len(row)} values, but the header names "
                f"{len(header)} columns; put values that contain a comma in double quotes"
            )
        if not row[path_at].strip():
            raise ValueError(f"{str(file)!r}, line {number}: the {path_column!r} column is empty")
        paths.append(row[path_at])
        labels.append(tuple(_value(row[i]) for i in label_at if i is not None))
        if split_at is not None:
            splits.append(_split(file, number, row[split_at]))
        if group_at is not None:
            groups.append(_value(row[group_at].strip()))
    if not paths:
        raise ValueError(f"{str(file)!r} lists no images: it has a header and nothing below it")
    has_labels = None not in label_at
    return Table(
        tuple(paths),
        tuple(labels) if has_labels else None,
        tuple(splits) if split_at is not None else None,
        tuple(groups) if group_at is not None else None,
    )


def column_names(file: Path) -> list[str]:
    """Names of a table's columns; none of an empty file."""
    return [clean_label(name) for name in next(_lines(file), (0, []))[1]]


def table_rows(file: Path) -> tuple[list[str], list[list[str]]]:
    """Names of a table's columns, and the values of every row as they are written."""
    lines = _lines(file)
    header = [name.strip() for name in next(lines, (0, []))[1]]
    return header, [row for _, row in lines]


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number (of a row's last line) and values of every row that isn't blank."""
    if file.suffix.lower() == ".parquet":
        yield from _parquet_lines(file)
        return
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:  # Excel writes a BOM
            reader = csv.reader(text)
            for row in reader:
                if row:
                    yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(file)!r} isn't UTF-8 ({error}); save it as UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{str(file)!r}, line {reader.line_num}: {error}") from error


def _parquet_lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Do as `_lines` for Parquet: the columns' names are line 1, then follow the rows."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{str(file)!r}: Parquet needs pyarrow, which isn't installed; run pip install "
            "'transferkit[parquet]', or give a .csv file"
        ) from error
    try:
        with parquet.ParquetFile(file) as table:
            # Only flat columns: an image's bytes in a nested one would be read for nothing.
            names = [f.name for f in table.schema_arrow if not pa.types.is_nested(f.type)]
            yield 1, names
            number = 1
            for batch in table.iter_batches(columns=names):
                for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    number += 1
                    yield number, ["" if is_missing(value) else str(value) for value in row]
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:  # whatever damaged pages make
        raise ValueError(
            f"{str(file)!r} isn't a Parquet file, or is damaged ({' '.join(str(error).split())})"
        ) from error


def _column(file: Path, header: list[str], name: str, kind: str) -> int | None:
    """Position of a column; None if it is missing and optional."""
    name = clean_label(name)
    if header.count(name) > 1:
        raise ValueError(f"{str(file)!r} has {header.count(name)} columns named {name!r}")
    if name in header:
        return header.index(name)
    if name in _OPTIONAL:
        return None
    raise _missing(file, header, name, kind)


def _missing(file: Path, header: list[str], name: str, kind: str) -> ValueError:
    message = f"{str(file)!r} has no column {name!r}"
    if close := difflib.get_close_matches(name, header, n=1):
        message += f"; did you mean {close[0]!r}?"
    elif len(header) == 1 and (others := [c for c in ";\t|" if c in header[0]]):
        message += f", but values separated by {others[0]!r}; save it with commas."
    else:
        message += "."
    option = f"--{kind}-column NAME ({kind}_column=)"
    return ValueError(f"{message} Columns: {', '.join(header)}. Name it with {option}")


def _value(text: str) -> str | None:
    return text if text.strip() else None


def _split(file: Path, number: int, text: str) -> str | None:
    if not text.strip():
        return None
    split = split_of(text)
    if split is None:
        raise ValueError(
            f"{str(file)!r}, line {number}: unknown split {text!r}; "
            f"choose one of {USUAL_NAMES}, or leave it empty"
        )
    return split
