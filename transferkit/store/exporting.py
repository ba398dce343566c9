"""Handing a key's rows to others, as npy, Parquet or HDF5."""

import csv
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transferkit.spec import FeatureSpec

if TYPE_CHECKING:
    from transferkit.store.directory import FeatureStore

__all__ = ["FORMATS", "export"]

FORMATS = ("npy", "parquet", "hdf5")
# Rows are read and written this many bytes at a time.
_BLOCK_BYTES = 64 * 2**20


def export(
    store: "FeatureStore",
    spec: FeatureSpec,
    path: str | Path,
    *,
    ids: Sequence[bytes] | None = None,
    names: Sequence[str] | None = None,
    form: str = "npy",
) -> Path:
    """Write a key's rows, with their ids and names, for others to read.

    Parameters
    ----------
    store : FeatureStore
        Where the rows are.
    spec : FeatureSpec
        Which rows.
    path : path
        The file; it is written whole or not at all. ``npy`` writes a second one beside it,
        ``PATH.csv``, with id and name of each row.
    ids : sequence of bytes, optional
        Row ids in the order wanted; by default all, sorted.
    names : sequence of str, optional
        What each row is called, such as its image's path.
    form : {"npy", "parquet", "hdf5"}, default="npy"
        The last two need extras.

    Raises
    ------
    ValueError
        If there's no such form, or its library isn't installed.
    """
    if form not in FORMATS:
        raise ValueError(f"format is {form!r}; choose one of {', '.join(FORMATS)}")
    wanted = store.ids(spec) if ids is None else list(ids)
    if not wanted:
        raise ValueError(f"there are no rows of {spec.key} to export")
    texts = [""] * len(wanted) if names is None else list(names)
    if len(texts) != len(wanted):
        raise ValueError(f"{len(wanted)} ids, but {len(texts)} names; give one per row")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    writers: dict[str, Callable[..., None]] = {
        "npy": _write_npy,
        "parquet": _write_parquet,
        "hdf5": _write_hdf5,
    }
    try:
        writers[form](temporary, spec, wanted, texts, _blocks(store, spec, wanted))
        if form == "npy":
            _write_csv(path.with_name(f"{path.name}.csv"), wanted, texts)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _blocks(
    store: "FeatureStore", spec: FeatureSpec, ids: list[bytes]
) -> Iterator[tuple[slice, NDArray[Any]]]:
    size = 1
    start = 0
    while start < len(ids):
        part = slice(start, min(start + size, len(ids)))
        rows = store.read(spec, ids[part])
        yield part, rows
        start = part.stop
        size = max(1, _BLOCK_BYTES // max(1, rows[0].nbytes))


def _write_npy(
    path: Path,
    spec: FeatureSpec,
    ids: list[bytes],
    names: list[str],
    blocks: Iterator[tuple[slice, NDArray[Any]]],
) -> None:
    array: NDArray[Any] | None = None
    for part, rows in blocks:
        if array is None:
            shape = (len(ids), *rows.shape[1:])
            array = np.lib.format.open_memmap(path, mode="w+", dtype=rows.dtype, shape=shape)
        array[part] = rows


def _write_csv(path: Path, ids: list[bytes], names: list[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "path"])
        writer.writerows((row.hex(), name) for row, name in zip(ids, names, strict=True))


def _write_parquet(
    path: Path,
    spec: FeatureSpec,
    ids: list[bytes],
    names: list[str],
    blocks: Iterator[tuple[slice, NDArray[Any]]],
) -> None:
    pa, pq = _library("pyarrow", "parquet"), _library("pyarrow.parquet", "parquet")
    writer: Any = None
    try:
        for part, rows in blocks:
            flat = rows.reshape(len(rows), -1)
            values = pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])
            columns = {
                "id": [row.hex() for row in ids[part]],
                "path": names[part],
                "features": values,
            }
            table = pa.table(columns).replace_schema_metadata(
                {"spec": spec.to_json(), "row_shape": str(list(rows.shape[1:]))}
            )
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _write_hdf5(
    path: Path,
    spec: FeatureSpec,
    ids: list[bytes],
    names: list[str],
    blocks: Iterator[tuple[slice, NDArray[Any]]],
) -> None:
    h5py = _library("h5py", "hdf5")
    with h5py.File(path, "w") as file:
        file.attrs["spec"] = spec.to_json()
        text = h5py.string_dtype()
        file.create_dataset("ids", data=[row.hex() for row in ids], dtype=text)
        file.create_dataset("paths", data=names, dtype=text)
        dataset: Any = None
        for part, rows in blocks:
            if dataset is None:
                shape = (len(ids), *rows.shape[1:])
                dataset = file.create_dataset("features", shape=shape, dtype=rows.dtype)
            dataset[part] = rows


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"format {extra!r} needs {name.partition('.')[0]}, which isn't installed; run pip "
            f"install 'transferkit[{extra}]'"
        ) from error
