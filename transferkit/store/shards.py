"""One shard: an immutable safetensors file of row ids, rows and a CRC-32 per row.

Three tensors, whichever order they stand in: ``ids`` (n x 16, U8), ``crc`` (n, U32: CRC-32
of the id's bytes followed by the row's bytes) and ``rows`` (n x row shape, F32, F16 or I8).
Where rows are I8 there is a fourth, ``scales`` (n x D of maps, n x blocks of vectors, F32), and a
row's bytes are its scales followed by its values; see `transferkit.store.encoding`.
``__metadata__`` holds the key and the provenance; `transferkit.store.header` says what is believed
of a header.
"""

import hashlib
import itertools
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.store import encoding
from transferkit.store.header import (
    ID_BYTES,
    BadShard,
    Header,
    encode_header,
    read_at,
    read_header,
)
from transferkit.store.places import Stamp, StoredFile, StorePlace

__all__ = [
    "ID_BYTES",
    "SUFFIX",
    "BadShard",
    "Shard",
    "digest",
    "gather",
    "intact",
    "load",
    "raw_ids",
    "write",
]

SUFFIX = ".safetensors"
# Ids as fixed-width strings sort and search fast. NumPy drops trailing zero bytes when it
# makes Python objects of them, so that is left to `raw_ids`.
ID_TYPE = np.dtype(f"S{ID_BYTES}")
# Rows are read in blocks of at most this size; nearer rows than the place's gap share a block.
BLOCK_BYTES = 1 << 24
# What is read of a shard at first: header and ids of the shards of an extraction, and of others
# what a second request costs as much as.
_BEGINNING_BYTES = 1 << 16


@dataclass(frozen=True, eq=False)
class Shard:
    """A shard whose header agrees with its file; its rows are still unchecked.

    Parameters
    ----------
    place : StorePlace
        Where the file is.
    name : str
        Its name there.
    ids : array of shape (n,), S16
        Row ids, in the file's order.
    header : Header
        What its header says.
    storage : str
        Storage class of the rows.
    n_bytes : int
        Size of the file.
    stamp : tuple
        What the place told of the file before it was loaded.
    """

    place: StorePlace
    name: str
    ids: NDArray[np.bytes_]
    header: Header
    storage: str
    n_bytes: int
    stamp: Stamp

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self.header.row_shape

    @property
    def begins(self) -> Mapping[str, int]:
        """Where each tensor begins, bytes from the file's start."""
        return self.header.begins

    @property
    def metadata(self) -> Mapping[str, str]:
        """Provenance, without the key."""
        return self.header.metadata

    @property
    def path(self) -> Path | str:
        """The file's path, or its URL."""
        return self.place.where(self.name)

    @property
    def file_name(self) -> str:
        """The file's name in its folder."""
        return self.name.rpartition("/")[2]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.ids)

    @property
    def row_type(self) -> np.dtype[Any]:
        """Type of one row as it is stored."""
        return encoding.row_type(self.storage, self.row_shape)


def raw_ids(ids: NDArray[np.bytes_]) -> list[bytes]:
    """Ids as Python bytes, all 16 of each."""
    whole = ids.tobytes()
    return [whole[i : i + ID_BYTES] for i in range(0, len(whole), ID_BYTES)]


def digest(shard: Shard) -> str:
    """First 32 hexadecimal digits of the SHA-256 of a file: the name that a shard should have."""
    whole = hashlib.sha256()
    with shard.place.open(shard.name) as file:
        for at in range(0, shard.n_bytes, BLOCK_BYTES):
            whole.update(file.read(at, min(BLOCK_BYTES, shard.n_bytes - at)))
    return whole.hexdigest()[:32]


def write(
    place: StorePlace,
    folder: str,
    ids: NDArray[np.bytes_],
    rows: NDArray[Any],
    *,
    key: str,
    storage: str,
    provenance: Mapping[str, str],
) -> str:
    """Write one shard, whole or not at all, under the digest of its content.

    Parameters
    ----------
    place : StorePlace
        Where it goes.
    folder : str
        The key's folder of shards there.
    ids : array of shape (n,), S16
        Row ids.
    rows : array of shape (n, ...)
        Rows as they are stored; see `encoding.encode`.
    key : str
        Key of the spec.
    storage : str
        Storage class, a name of `encoding.TENSORS`.
    provenance : dict of str
        Whence the rows come; goes into the header.

    Returns
    -------
    str
        The shard's name in the place.
    """
    names = rows.dtype.names
    tensors = [np.ascontiguousarray(rows[n]) for n in names] if names else [rows]
    contents: list[memoryview[int]] = [tensor.data.cast("B") for tensor in tensors]
    checks = _checksums(raw_ids(ids), contents)
    shape = (len(ids), *encoding.row_shape(rows))
    header = encode_header(shape, storage=storage, key=key, provenance=provenance)
    parts: tuple[bytes | memoryview[int], ...]
    parts = (header, ids.tobytes(), np.array(checks, "<u4").tobytes(), *contents)
    name_digest = hashlib.sha256()
    for part in parts:
        name_digest.update(part)
    name = f"{folder}/{name_digest.hexdigest()[:32]}{SUFFIX}"
    place.write_whole(name, parts)
    return name


def load(
    place: StorePlace, name: str, known: tuple[int, Stamp] | None = None, *, key: str, storage: str
) -> Shard:
    """Read a shard's header and ids.

    Parameters
    ----------
    place : StorePlace
        Where it is.
    name : str
        Its name there; must be that of a regular file.
    known : (int, tuple), optional
        Its size and stamp, if they were asked for just now.
    key : str
        Key that it must belong to.
    storage : str
        Storage class that its rows must have.

    Returns
    -------
    Shard
        With a header that agrees with the file.

    Raises
    ------
    BadShard
        If the file isn't a whole shard of this key.
    """
    n_bytes, stamp = place.size_and_stamp(name) if known is None else known
    with place.open(name) as file:
        # Where requests are dear, one brings the header and, of most shards, all ids.
        begun = file.fetched([(0, min(n_bytes, _BEGINNING_BYTES))])
        header = read_header(begun, n_bytes, key=key, storage=storage)
        if file.has_hole(header.begins["ids"], header.n_rows * ID_BYTES):
            raise BadShard("its ids aren't there: it is a sparse file")
        ids = read_at(begun, header.begins["ids"], header.n_rows * ID_BYTES)
    return Shard(place, name, np.frombuffer(ids, ID_TYPE), header, storage, n_bytes, stamp)


def gather(
    shard: Shard, rows: NDArray[np.intp], out: NDArray[Any], places: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Copy rows whose checksum holds into an array.

    Parameters
    ----------
    shard : Shard
        Where they are read.
    rows : array of int, sorted
        Which rows, in ascending order; repeated ones are allowed.
    out : array of shape (m, ...)
        Where they go, as `encoding.decode_into` puts them; untouched where a checksum fails.
    places : array of int
        Index into `out` of each row.

    Returns
    -------
    array of bool
        Which of the rows were good.

    Raises
    ------
    FileNotFoundError
        If the shard is no longer there.
    """
    good = np.zeros(len(rows), np.bool_)
    place = shard.place
    with place.open(shard.name) as file:

        def checked(part: slice) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]] | None:
            try:
                return _checked(file, shard, rows[part])
            except FileNotFoundError:
                raise
            except (OSError, BadShard):
                # A bad sector costs only the rows around it, and not the whole shard.
                return None

        parts = list(_blocks(rows, shard.row_type.itemsize, place.gap_bytes))
        for part, found in zip(parts, place.each(checked, parts), strict=True):
            if found is None:
                continue
            tensors, holds = found
            good[part] = holds
            if not holds.all():
                tensors = {name: values[holds] for name, values in tensors.items()}
            encoding.decode_into(out, places[part][holds], tensors)
    return good


def intact(shard: Shard) -> NDArray[np.bool_]:
    """Read all rows of a shard, and return which of them are good.

    Unlike `gather` this raises if the file can't be read. Damaged rows may be removed after this
    call, so a short failure of the network mustn't look like damage.
    """
    rows = np.arange(shard.n_rows)
    place = shard.place
    with place.open(shard.name) as file:
        blocks = _blocks(rows, shard.row_type.itemsize, place.gap_bytes)
        parts = list(place.each(lambda part: _checked(file, shard, rows[part])[1], blocks))
    return np.concatenate(parts)


def _checked(
    file: StoredFile, shard: Shard, rows: NDArray[np.intp]
) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
    """Read rows by ascending numbers, at once; return them and whether each checksum holds.

    The rows come as their tensors. The checksum covers the id that the index holds, not the one in
    the file now, so a row can't be handed out for another's.
    """
    first, n = int(rows[0]), int(rows[-1] - rows[0]) + 1
    kinds = {"crc": np.dtype("<u4")}
    kinds |= {name: kind for name, (_, kind) in encoding.TENSORS[shard.storage].items()}
    shapes = {"crc": (), "scales": encoding.scales_shape(shard.row_shape), "rows": shard.row_shape}
    sizes = {name: math.prod(shapes[name]) * kind.itemsize for name, kind in kinds.items()}
    spans = {name: (shard.begins[name] + first * size, n * size) for name, size in sizes.items()}
    parts = file.fetched(list(spans.values()))
    contents = {name: memoryview(read_at(parts, *span)) for name, span in spans.items()}
    tensors = {
        name: np.frombuffer(contents[name], kind).reshape(n, *shapes[name])
        for name, kind in kinds.items()
    }
    crc = tensors.pop("crc")
    numbers = rows - first
    if not _is_run(numbers, n):
        tensors = {name: values[numbers] for name, values in tensors.items()}
    ids = raw_ids(shard.ids[first : first + n])
    found = _checksums(ids, [contents[name] for name in tensors], numbers.tolist())
    return tensors, np.array(found, "<u4") == crc[numbers]


def _is_run(numbers: NDArray[np.intp], n: int) -> bool:
    """Whether these are all numbers below n, in their order."""
    return len(numbers) == n and bool((np.diff(numbers) == 1).all())


def _checksums(
    ids: list[bytes], contents: "list[memoryview[int]]", numbers: Iterable[int] | None = None
) -> list[int]:
    """CRC-32 of some rows: of the id, followed by the row's bytes of each content in turn."""
    sizes = [len(content) // len(ids) for content in contents]
    checks = []
    for i in range(len(ids)) if numbers is None else numbers:
        check = zlib.crc32(ids[i])
        for content, size in zip(contents, sizes, strict=True):
            check = zlib.crc32(content[i * size : (i + 1) * size], check)
        checks.append(check)
    return checks


def _blocks(rows: NDArray[np.intp], size: int, gap: int) -> Iterator[slice]:
    """Split ascending row numbers into runs that are worth one read each."""
    if not len(rows):
        return
    block = rows // max(1, BLOCK_BYTES // size)
    cuts = np.flatnonzero((np.diff(block) > 0) | (np.diff(rows) * size > gap)) + 1
    edges = [0, *cuts.tolist(), len(rows)]
    for begin, end in itertools.pairwise(edges):
        yield slice(begin, end)
