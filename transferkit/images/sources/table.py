"""A table of images, CSV or Parquet: paths, labels and splits, as the user wrote them."""

import csv
import difflib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from PIL import Image

from transferkit.images.imageset import ImageSet, Label
from transferkit.images.items import Item
from transferkit.images.labels import clean_label
from transferkit.images.paths import in_either_form
from transferkit.images.row_groups import BlobFile, open_parquet
from transferkit.images.sources._options import ListingOptions
from transferkit.images.sources._places import (
    blobs_of,
    has_braces,
    is_file,
    is_remote,
    remote_image,
    suffix_of,
)
from transferkit.images.sources.items import is_missing
from transferkit.images.splits import USUAL_NAMES, split_of

__all__ = [
    "HAS_GROUPS",
    "OPTIONAL",
    "PATHS",
    "TABLE_SUFFIXES",
    "Table",
    "accepts",
    "column_names",
    "example",
    "is_table",
    "listed",
    "missing_column",
    "read_table",
    "table_rows",
]

TABLE_SUFFIXES = (".csv", ".parquet")
"""Endings of the tables that are read."""

PATHS = f"a {' or '.join(TABLE_SUFFIXES)} file"
HAS_GROUPS = True

OPTIONAL = ("label", "split")
"""Columns of these names may be missing. A column that was asked for by another name may not."""


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
    """Whether a thing is the path or URL of a CSV; what is in a Parquet file shows later."""
    return is_file(given, ".csv") and not (isinstance(given, str) and has_braces(given))


def is_table(given: str | Path) -> bool:
    """Whether a path or URL names one file with a table's suffix."""
    return any(is_file(given, suffix) for suffix in TABLE_SUFFIXES) and not has_braces(given)


def listed(given: Any, options: ListingOptions) -> ImageSet:
    """List the images of a table, in its order; paths are relative to its own folder."""
    label_column = options.label_column
    columns = (label_column,) if isinstance(label_column, str) else tuple(label_column)
    columns = tuple(map(clean_label, columns))
    table = read_table(
        given, options.path_column, columns, options.split_column, options.group_column
    )
    labels: tuple[Label, ...] | None = table.labels
    if isinstance(label_column, str) and table.labels is not None:
        labels = tuple(row[0] for row in table.labels)
    items = tuple(item_beside(given, path) for path in table.paths)
    label_names = None if table.labels is None else columns
    return ImageSet(items, table.paths, labels, table.splits, label_names, table.groups)


def item_beside(file: str | Path, path: str) -> Item:
    """Image of a path that is relative to a file's own folder, or is a URL."""
    if is_remote(path):
        return remote_image(path)
    if is_remote(file):
        return remote_image(f"{str(file).rpartition('/')[0]}/{path.removeprefix('./')}")
    return in_either_form(Path(file).parent / path)


def example(folder: Path, pictures: Sequence[np.ndarray]) -> Path:
    """Write pictures as files, and a table that names them with their classes."""
    lines = ["path,label"]
    for i, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{i}.png")
        lines.append(f"{i}.png,class {i % 2}")
    (folder / "images.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "images.csv"


def read_table(
    file: str | Path,
    path_column: str,
    label_columns: Sequence[str],
    split_column: str,
    group_column: str | None = None,
) -> Table:
    """Read the paths, labels and splits of a table.

    Parameters
    ----------
    file : str or Path
        Path or URL of a CSV with a header row, UTF-8, separated by commas; or of a Parquet
        file, whose values become text as Python writes them (3 is ``"3"``, 3.0 is ``"3.0"``,
        null is empty).
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
        raise missing_column(file, header, label_columns[label_at.index(None)], "label")
    split_at = _column(file, header, split_column, "split")
    group_at = None if group_column is None else _column(file, header, group_column, "group")
    if path_at is None:
        raise missing_column(file, header, path_column, "path")
    if group_column is not None and group_at is None:  # one called "label" or "split"
        raise missing_column(file, header, group_column, "group")

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


def column_names(file: str | Path) -> list[str]:
    """Names of a table's columns; none of an empty file."""
    return [clean_label(name) for name in next(_lines(file), (0, []))[1]]


def table_rows(file: str | Path) -> tuple[list[str], list[list[str]]]:
    """Names of a table's columns, and the values of every row as they are written."""
    lines = _lines(file)
    header = [name.strip() for name in next(lines, (0, []))[1]]
    return header, [row for _, row in lines]


def _lines(file: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Line number (of a row's last line) and values of every row that isn't blank."""
    if suffix_of(file) == ".parquet":
        yield from _parquet_lines(file)
        return
    try:
        with _opened(file) as text:
            reader = csv.reader(text)
            for row in reader:
                if row:
                    yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(file)!r} isn't UTF-8 ({error}); save it as UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{str(file)!r}, line {reader.line_num}: {error}") from error


def _opened(file: str | Path) -> TextIO:
    # Excel writes a BOM.
    if not is_remote(file):
        return Path(file).open(newline="", encoding="utf-8-sig")
    raw = io.BufferedReader(BlobFile(blobs_of(file)[0]), 1 << 20)
    return io.TextIOWrapper(raw, newline="", encoding="utf-8-sig")


def _parquet_lines(file: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Do as `_lines` for Parquet: the columns' names are line 1, then follow the rows."""
    with open_parquet(blobs_of(file)[0]) as table:
        import pyarrow as pa

        # Only flat columns of texts and numbers: an image's bytes would be read for nothing.
        names = [
            field.name
            for field in table.schema_arrow
            if not (
                pa.types.is_nested(field.type)
                or pa.types.is_binary(field.type)
                or pa.types.is_large_binary(field.type)
            )
        ]
        yield 1, names
        number = 1
        try:
            for batch in table.iter_batches(columns=names):
                for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    number += 1
                    yield number, ["" if is_missing(value) else str(value) for value in row]
        except (pa.ArrowException, OSError, ValueError) as error:  # whatever damaged pages make
            raise ValueError(
                f"{str(file)!r} isn't a Parquet file, or is damaged "
                f"({' '.join(str(error).split())})"
            ) from error


def _column(file: str | Path, header: list[str], name: str, kind: str) -> int | None:
    """Position of a column; None if it is missing and optional."""
    name = clean_label(name)
    if header.count(name) > 1:
        raise ValueError(f"{str(file)!r} has {header.count(name)} columns named {name!r}")
    if name in header:
        return header.index(name)
    if name in OPTIONAL:
        return None
    raise missing_column(file, header, name, kind)


def missing_column(file: str | Path, header: Sequence[str], name: str, kind: str) -> ValueError:
    """Error that a table lacks a column, with the likely reason.

    Parameters
    ----------
    file : str or Path
        The table.
    header : sequence of str
        The columns that it has.
    name, kind : str
        The column that was asked for, and what for: ``"path"``, ``"label"``, ``"split"`` ….
    """
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


def _split(file: str | Path, number: int, text: str) -> str | None:
    if not text.strip():
        return None
    split = split_of(text)
    if split is None:
        raise ValueError(
            f"{str(file)!r}, line {number}: unknown split {text!r}; "
            f"choose one of {USUAL_NAMES}, or leave it empty"
        )
    return split
