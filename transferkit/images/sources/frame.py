"""A table in memory: a DataFrame of pandas or polars, or an Arrow table."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.images.imageset import ImageSet, Label
from transferkit.images.sources._options import ListingOptions
from transferkit.images.sources.items import is_missing, list_items
from transferkit.images.splits import USUAL_NAMES, split_of

__all__ = ["accepts", "example", "listed"]


def accepts(given: Any) -> bool:
    """Whether a thing has columns by name. No library is imported for the check."""
    has_columns = hasattr(given, "columns") and hasattr(given, "shape")
    return has_columns and hasattr(given, "__getitem__")


def listed(given: Any, options: ListingOptions) -> ImageSet:
    """List the images of a DataFrame, in its order.

    It is read as a CSV with the same columns would be, but relative paths are relative to the
    working directory, and a path may be anything that a list may hold. A single column is
    that of the paths, whatever it is called.
    """
    frame, path_column, split_column = given, options.path_column, options.split_column
    label_column = options.label_column
    names = _columns(frame)
    if len(names) == 1 and path_column not in names:
        path_column = next(iter(names))
    if path_column not in names:
        raise _missing(names, path_column, "path")
    images = list_items(_values(frame, path_column))
    labels: tuple[Label, ...] | None = None
    columns = (label_column,) if isinstance(label_column, str) else tuple(label_column)
    if label_column != "label" or "label" in names:
        for name in columns:
            if name not in names:
                raise _missing(names, name, "label")
        rows = zip(*(map(_text, _values(frame, name)) for name in columns), strict=True)
        labels = tuple(row[0] for row in rows) if isinstance(label_column, str) else tuple(rows)
    splits = None
    if split_column != "split" or "split" in names:
        if split_column not in names:
            raise _missing(names, split_column, "split")
        splits = tuple(_split(i, v) for i, v in enumerate(_values(frame, split_column)))
    return ImageSet(images.items, images.names, labels, splits, None if labels is None else columns)


class _Columns(dict[str, list[Any]]):
    """The smallest object that counts as a DataFrame: columns by name."""

    @property
    def columns(self) -> list[str]:
        return list(self)

    @property
    def shape(self) -> tuple[int, int]:
        return len(next(iter(self.values()))), len(self)


def example(folder: Path, pictures: Sequence[np.ndarray]) -> Any:
    """Columns of pictures and their classes."""
    labels = [f"class {i % 2}" for i in range(len(pictures))]
    return _Columns(path=list(pictures), label=labels)


def _columns(frame: Any) -> dict[str, Any]:
    """Names of the columns as texts, with the original names."""
    return {str(name): name for name in getattr(frame, "column_names", None) or frame.columns}


def _values(frame: Any, name: str) -> list[Any]:
    column = frame[_columns(frame)[name]]
    if hasattr(column, "columns"):
        raise ValueError(f"the DataFrame has several columns named {name!r}; rename all but one")
    return list(column.to_pylist() if hasattr(column, "to_pylist") else column)


def _text(value: Any) -> str | None:
    return None if is_missing(value) or not str(value).strip() else str(value)


def _split(i: int, value: Any) -> str | None:
    text = _text(value)
    if text is None:
        return None
    split = split_of(text)
    if split is None:
        raise ValueError(
            f"the DataFrame's row {i} has the unknown split {text!r}; choose one of "
            f"{USUAL_NAMES}, or leave it empty"
        )
    return split


def _missing(names: Iterable[str], name: str, kind: str) -> ValueError:
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    advice = "" if kind != "path" else ", or give that column alone, as in df['NAME']"
    return ValueError(
        f"the DataFrame has no column {name!r}{hint} Columns: {', '.join(names)}. Name it with "
        f"{kind}_column=, as in list_images(df, {kind}_column='NAME'){advice}"
    )
