"""Export a key's rows as npy, Parquet or HDF5."""

import csv
import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transferkit.files import failed_write
from transferkit.spec import FeatureSpec

if TYPE_CHECKING:
    from transferkit.store.directory import FeatureStore

__all__ = ["FORMATS", "export"]

FORMATS = ("npy", "parquet", "hdf5")


def export(
    store: "FeatureStore",
    spec: FeatureSpec,
    path: str | Path,
    *,
    ids: Sequence[bytes] | None = None,
    names: Sequence[str] | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
    form: str = "npy",
) -> Path:
    """Write a key's rows to a file, with their ids and any further columns.

    Parameters
    ----------
    store : FeatureStore
        Where the rows are.
    spec : FeatureSpec
        Which rows.
    path : path
        The file; it is written whole or not at all. ``npy`` writes a second one beside it,
        ``PATH.csv``, with id, name and labels of each row.
    ids : sequence of bytes, optional
        Row ids in the order wanted; by default all, sorted.
    names : sequence of str, optional
        What each row is called, such as its image's path; without, there is no such column.
    labels : dict of sequence of str, optional
        Further columns by name, one text per row.
    form : {"npy", "parquet", "hdf5"}, default="npy"
        The last two need extras.

    Raises
    ------
    ValueError
        If there's no such form, or its library isn't installed.
    OSError
        If it can't be written; what was there before is kept.
    """
    if form not in FORMATS:
        raise ValueError(f"format is {form!r}; choose one of {', '.join(FORMATS)}")
    wanted = store.ids(spec) if ids is None else list(ids)
    if not wanted:
        raise ValueError(f"there are no rows of {spec.key} to export")
    columns = _columns(wanted, names, labels or {})
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    writers: dict[str, Callable[..., None]] = {
        "npy": _write_npy,
        "parquet": _write_parquet,
        "hdf5": _write_hdf5,
    }
    try:
        writers[form](temporary, spec, columns, _blocks(store, spec, wanted))
        if form == "npy":
            _write_csv(path.with_name(f"{path.name}.csv"), columns)
        temporary.replace(path)
    except OSError as error:
        raise failed_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _columns(
    ids: Sequence[bytes], names: Sequence[str] | None, labels: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Columns of texts, one text per row. Ids become text, because tables don't show bytes."""
    columns = {"id": [row.hex() for row in ids]}
    for what, values in ({"path": names} | dict(labels)).items():
        if values is None:
            continue
        if len(values) != len(ids):
            kind = "names" if what == "path" else f"values of {what!r}"
            raise ValueError(f"{len(ids)} ids, but {len(values)} {kind}; give one per row")
        if what in ("id", "features"):
            raise ValueError(
                f"a column can't be called {what!r}: that is what the file calls its own"
            )
        columns[what] = list(values)
    return columns


def _blocks(
    store: "FeatureStore", spec: FeatureSpec, ids: list[bytes]
) -> Iterator[tuple[slice, NDArray[Any]]]:
    start = 0
    for rows in store.open(spec, ids).batches():
        yield slice(start, start + len(rows)), rows
        start += len(rows)


def _write_npy(
    path: Path,
    spec: FeatureSpec,
    columns: Mapping[str, list[str]],
    blocks: Iterator[tuple[slice, NDArray[Any]]],
) -> None:
    # Plain writes, because on a full disk a write through a memory map would end the process.
    with path.open("wb") as file:
        for part, rows in blocks:
            if not part.start:
                shape = (len(columns["id"]), *rows.shape[1:])
                descr = np.lib.format.dtype_to_descr(rows.dtype)
                header = {"descr": descr, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(rows).data)


def _write_csv(path: Path, columns: Mapping[str, list[str]]) -> None:
    # A name that isn't UTF-8 comes back as its bytes.
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _write_parquet(
    path: Path,
    spec: FeatureSpec,
    columns: Mapping[str, list[str]],
    blocks: Iterator[tuple[slice, NDArray[Any]]],
) -> None:
    pa, pq = _library("pyarrow", "parquet"), _library("pyarrow.parquet", "parquet")
    writer: Any = None
    try:
        for part, rows in blocks:
            flat = rows.reshape(len(rows), -1)
            values = pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])
            texts = {name: _valid(column[part]) for name, column in columns.items()}
            table = pa.table(texts | {"features": values}).replace_schema_metadata(
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
    columns: Mapping[str, list[str]],
    blocks: Iterator[tuple[slice, NDArray[Any]]],
) -> None:
    h5py = _library("h5py", "hdf5")
    with h5py.File(path, "w") as file:
        file.attrs["spec"] = spec.to_json()
        text = h5py.string_dtype()
        for name, column in columns.items():
            # The names are in the plural, as the first versions wrote them.
            plural = {"id": "ids", "path": "paths"}.get(name, name)
            file.create_dataset(plural, data=_valid(column), dtype=text)
        dataset: Any = None
        for part, rows in blocks:
            if dataset is None:
                shape = (len(columns["id"]), *rows.shape[1:])
                dataset = file.create_dataset("features", shape=shape, dtype=rows.dtype)
            dataset[part] = rows


def _valid(texts: list[str]) -> list[str]:
    """Texts that UTF-8 takes: bytes of names that aren't are written as hexadecimal escapes."""
    return [t.encode(errors="surrogateescape").decode(errors="backslashreplace") for t in texts]


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"format {extra!r} needs {name.partition('.')[0]}, which isn't installed; run pip "
            f"install 'transferkit[{extra}]'"
        ) from error
