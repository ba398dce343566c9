"""Parquet files that hold images: a column of their bytes, as Hugging Face writes it or plain.

A row group is read in parts, in the order in which the images are asked for, and never the whole
file. A Parquet file of paths is a table as a CSV is.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferkit.images.blobs import Blob
from transferkit.images.imageset import ImageSet
from transferkit.images.labels import clean_label
from transferkit.images.row_groups import ParquetImage, RowGroups, open_parquet
from transferkit.images.sources import table
from transferkit.images.sources._containers import (
    ContainerImages,
    list_containers,
    safe_name,
    split_named,
)
from transferkit.images.sources._options import ListingOptions
from transferkit.images.sources._places import blobs_of, is_file, name_of
from transferkit.images.sources.items import is_missing

__all__ = ["HAS_GROUPS", "accepts", "example", "list_parquets", "listed"]

HAS_GROUPS = True


def accepts(given: Any) -> bool:
    """Whether a thing names Parquet files: a path, a URL, or one with braces."""
    return is_file(given, ".parquet")


def listed(given: Any, options: ListingOptions) -> ImageSet:
    """List the images of Parquet files in their order, or those that a table names."""
    blobs = blobs_of(given)
    with open_parquet(blobs[0]) as first:
        holds_images = _image_column(first, options.path_column, blobs[0].where) is not None
    if len(blobs) == 1 and not holds_images:
        return table.listed(given, options)
    return list_parquets(blobs, [name_of(blob.where) for blob in blobs], options)


def list_parquets(
    blobs: Sequence[Blob], places: Sequence[str], options: ListingOptions
) -> ImageSet:
    """List the images of Parquet files. Only the columns of labels and the like are read.

    Parameters
    ----------
    blobs : sequence of Blob
        The files.
    places : sequence of str
        What each is called.
    options : ListingOptions
        Names of the columns.
    """
    images = list_containers(
        blobs, places, lambda blob, place: _read(blob, place, options), options.label_column
    )
    if not len(images):
        raise ValueError(f"no images in {places[0]!r}: it has no rows")
    return images


def _read(blob: Blob, place: str, options: ListingOptions) -> ContainerImages:
    with open_parquet(blob) as file:
        where = blob.where
        column = _image_column(file, options.path_column, where)
        if column is None:
            raise ValueError(
                f"{where!r} has no column of images' bytes, but {', '.join(_names(file))}; name "
                "it with --path-column NAME (path_column=)"
            )
        name, fields = column
        labels = _labels(file, options.label_column, where)
        splits = _texts(file, options.split_column, where, "split")
        groups = None
        if options.group_column is not None:
            groups = _texts(file, options.group_column, where, "group")
        numbers = [
            (group, row)
            for group in range(file.metadata.num_row_groups)
            for row in range(file.metadata.row_group(group).num_rows)
        ]
        paths = _column(file, f"{name}.path") if "path" in fields else [None] * len(numbers)
    rows = RowGroups(blob, name, "bytes" if fields else None)
    stem = place.removesuffix(".parquet")
    return ContainerImages(
        [ParquetImage(rows, *number) for number in numbers],
        [
            (safe_name(path) if isinstance(path, str) else None) or f"{stem}/{i}"
            for i, path in enumerate(paths)
        ],
        labels,
        None if splits is None else [split_named(split, where) for split in splits],
        groups,
    )


def _names(file: Any) -> list[str]:
    return [str(name) for name in file.schema_arrow.names]


def _image_column(file: Any, wanted: str, where: str) -> tuple[str, tuple[str, ...]] | None:
    """Column of the images' bytes and the names of its fields, if it has any.

    None if there is none, or if the paths' column holds paths.
    """
    import pyarrow as pa

    found: dict[str, tuple[str, ...]] = {}
    for one in file.schema_arrow:
        if pa.types.is_binary(one.type) or pa.types.is_large_binary(one.type):
            found[one.name] = ()
        elif pa.types.is_struct(one.type):
            fields = tuple(one.type.field(i).name for i in range(one.type.num_fields))
            if "bytes" in fields:
                found[one.name] = fields
    if wanted in _names(file):
        return (wanted, found[wanted]) if wanted in found else None
    if wanted != "path":  # a table is told so
        return None
    if "image" in found or len(found) == 1:
        name = "image" if "image" in found else next(iter(found))
        return name, found[name]
    if found:
        raise ValueError(
            f"{where!r} has several columns of bytes, {', '.join(found)}; say which are the "
            "images with --path-column NAME (path_column=)"
        )
    return None


def _labels(
    file: Any, label_column: str | Sequence[str], where: str
) -> list[tuple[str | None, ...]] | None:
    columns = [label_column] if isinstance(label_column, str) else list(label_column)
    found = [_texts(file, clean_label(name), where, "label") for name in columns]
    if len(found) == 1:
        return None if found[0] is None else [(label,) for label in found[0]]
    for name, column in zip(columns, found, strict=True):
        if column is None:
            raise table.missing_column(where, _names(file), name, "label")
    return list(zip(*(column for column in found if column is not None), strict=True))


def _texts(file: Any, name: str, where: str, kind: str) -> list[str | None] | None:
    """Values of a column as text, by their classes' names if they have such; None if optional."""
    own = {clean_label(one): one for one in _names(file)}
    if name not in own:
        if name in table.OPTIONAL and kind != "group":
            return None
        raise table.missing_column(where, _names(file), name, kind)
    classes = _class_names(file.schema_arrow.metadata, own[name])

    def text(value: Any) -> str | None:
        if isinstance(value, list | dict | bytes):
            raise ValueError(
                f"{where!r}: column {name!r} holds a {type(value).__name__}; give one text or "
                "number per image"
            )
        if is_missing(value) or (classes and value == -1):
            return None
        if isinstance(value, int) and 0 <= value < len(classes):
            return classes[value]
        return str(value) if str(value).strip() else None

    return [text(value) for value in _column(file, own[name])]


def _class_names(metadata: Mapping[bytes, bytes] | None, name: str) -> list[str]:
    """Names of the classes in a column, which Hugging Face's library writes beside the schema."""
    try:
        told = json.loads((metadata or {})[b"huggingface"])
        names = told["info"]["features"][name]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []
    if not isinstance(names, list) or len(set(map(str, names))) < len(names):
        return []
    return [str(one) for one in names]


def _column(file: Any, name: str) -> Iterable[Any]:
    """Values of a column, or of a field of one."""
    import pyarrow as pa

    values: list[Any] = []
    try:
        for batch in file.iter_batches(columns=[name], use_threads=False):
            column = batch.column(0)
            values += (column.field(0) if pa.types.is_struct(column.type) else column).to_pylist()
    except (pa.ArrowException, ValueError) as error:
        raise ValueError(f"a Parquet file is damaged ({' '.join(str(error).split())})") from error
    return values


def example(folder: Path, pictures: Sequence[np.ndarray]) -> Path:
    """Pictures and their classes in a file of several row groups, as Hugging Face writes it."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = []
    for i, pixels in enumerate(pictures):
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "PNG")
        rows.append({"image": {"bytes": png.getvalue(), "path": f"{i}.png"}, "label": i % 2})
    parquet.write_table(pa.Table.from_pylist(rows), folder / "images.parquet", row_group_size=2)
    return folder / "images.parquet"
