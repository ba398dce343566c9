"""A shard's header, which says where ids, checksums and rows stand in its file.

The file may come from a stranger. Nothing in it is executed, and no size that it states is
believed before it agrees with the size of the file.
"""

import functools
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from transferkit.digests import ID_BYTES
from transferkit.store.encoding import TENSORS, VALUE_TYPES, scales_shape
from transferkit.store.places import StoredFile

__all__ = [
    "ID_BYTES",
    "MAX_DIMENSIONS",
    "MAX_ROW_BYTES",
    "BadShard",
    "Header",
    "check_header",
    "encode_header",
    "read_at",
    "read_header",
]

MAX_HEADER_BYTES = 1 << 20
MAX_DIMENSIONS = 8
# Largest row in memory, which is read in one piece. Maps of the largest images take a few percent
# of this.
MAX_ROW_BYTES = 1 << 30


class BadShard(ValueError):
    """A file that isn't a whole, well-formed shard of its key."""


@dataclass(frozen=True)
class Header:
    """The contents of a header that was checked against its file.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    row_shape : tuple of int
        Shape of one row.
    begins : dict of str to int
        Where each tensor begins, bytes from the file's start.
    metadata : dict
        Provenance, without the key.
    text : bytes
        The JSON text.
    """

    n_rows: int
    row_shape: tuple[int, ...]
    begins: Mapping[str, int]
    metadata: Mapping[str, str]
    text: bytes


def _kinds(storage: str) -> dict[str, tuple[str, int]]:
    """Type of each tensor by safetensors' name, and bytes of one value."""
    own = {name: (code, kind.itemsize) for name, (code, kind) in TENSORS[storage].items()}
    # This order keeps every tensor aligned to its type, whatever the number of rows.
    return {"ids": ("U8", 1), "crc": ("U32", 4), **own}


def _shapes(names: Collection[str], shape: list[int]) -> dict[str, list[int]]:
    """Shape of each tensor, if that of the rows is `shape`."""
    n_rows, *row_shape = shape
    known = {"ids": [n_rows, ID_BYTES], "crc": [n_rows], "rows": shape}
    if "scales" in names:
        known["scales"] = [n_rows, *scales_shape(tuple(row_shape))]
    return {name: known[name] for name in names}


def encode_header(
    shape: tuple[int, ...], *, storage: str, key: str, provenance: Mapping[str, str]
) -> bytes:
    """Encode the beginning of a shard's file. Ids, crc, scales and rows follow it in this order.

    Parameters
    ----------
    shape : tuple of int
        Shape of the rows, their number first.
    storage : str
        Storage class, a name of `TENSORS`.
    key : str
        Key of the spec.
    provenance : dict of str
        Whence the rows come.

    Raises
    ------
    ValueError
        If the provenance is too long.
    """
    kinds = _kinds(storage)
    shapes = _shapes(kinds, list(shape))
    header: dict[str, Any] = {"__metadata__": {**provenance, "key": key}}
    begin = 0
    for name, (kind, width) in kinds.items():
        end = begin + math.prod(shapes[name]) * width
        header[name] = {"dtype": kind, "shape": shapes[name], "data_offsets": (begin, end)}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(
            f"the provenance takes {len(text):,} bytes in the shard's header; "
            f"shorten it to fit {MAX_HEADER_BYTES:,}"
        )
    return len(text).to_bytes(8, "little") + text


def read_header(file: StoredFile, n_bytes: int, *, key: str, storage: str) -> Header:
    """Read a shard's header and check it against the file.

    Parameters
    ----------
    file : StoredFile
        Open for reading.
    n_bytes : int
        Its size.
    key : str
        Key that it must name.
    storage : str
        Storage class that its rows must have.

    Raises
    ------
    BadShard
        If the header isn't that of a whole shard of this key.
    """
    length = int.from_bytes(read_at(file, 0, 8), "little") if n_bytes >= 8 else 0
    if not 2 <= length <= min(MAX_HEADER_BYTES, n_bytes - 8):
        raise BadShard(f"its header can't be {length} bytes long in a file of {n_bytes}")
    return check_header(read_at(file, 8, length), n_bytes, key=key, storage=storage)


@functools.lru_cache(maxsize=1024)  # the shards of a run have few different headers
def check_header(text: bytes, n_bytes: int, *, key: str, storage: str) -> Header:
    """Check a header's text as `read_header` does.

    Parameters
    ----------
    text : bytes
        The JSON text.
    n_bytes, key, storage
        As for `read_header`.

    Raises
    ------
    BadShard
        If it isn't that of a whole shard of this key.
    """
    header, data_at = _parse(text), 8 + len(text)
    metadata = _metadata(header.pop("__metadata__", None))
    if metadata.pop("key", None) != key:
        raise BadShard("it doesn't name the key of its folder")
    begins, n_rows, row_shape = _sizes(header, storage, n_bytes - data_at)
    return Header(
        n_rows=n_rows,
        row_shape=row_shape,
        begins={name: data_at + begin for name, begin in begins.items()},
        metadata=metadata,
        text=text,
    )


def read_at(file: StoredFile, at: int, size: int) -> bytes:
    """Read bytes at an offset. Raise `BadShard` if the file has fewer."""
    content = file.read(at, size)
    if len(content) != size:
        raise BadShard(f"it ends after {len(content)} of {size} bytes at {at}")
    return content


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise BadShard("its header has a name twice")
    return values


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode(), object_pairs_hook=_no_twins)
    except BadShard:
        raise
    except (ValueError, RecursionError) as error:
        raise BadShard(f"its header isn't JSON ({type(error).__name__})") from error
    if not isinstance(header, dict):
        raise BadShard("its header isn't a JSON object")
    return header


def _metadata(values: object) -> dict[str, str]:
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise BadShard("its metadata aren't texts by name")
    return dict(values)


def _naturals(values: object) -> bool:
    # Not isinstance: True is an int.
    return isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)


def _sizes(
    header: dict[str, Any], storage: str, n_data: int
) -> tuple[dict[str, int], int, tuple[int, ...]]:
    """Check every stated size against the file; return tensors' begins, row count, row shape."""
    kinds = _kinds(storage)
    if header.keys() != kinds.keys():
        raise BadShard(f"its tensors aren't just {', '.join(kinds)}")
    spans: dict[str, tuple[int, int]] = {}
    for name, (kind, width) in kinds.items():
        entry = header[name]
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise BadShard(f"the entry of {name} isn't a tensor's")
        shape, offsets = entry["shape"], entry["data_offsets"]
        if entry["dtype"] != kind:
            raise BadShard(f"{name} isn't of type {kind}")
        if not _naturals(shape) or not 1 <= len(shape) <= MAX_DIMENSIONS or 0 in shape:
            raise BadShard(f"the shape of {name} is impossible")
        if not _naturals(offsets) or len(offsets) != 2:
            raise BadShard(f"the offsets of {name} are impossible")
        if math.prod(shape) * width != offsets[1] - offsets[0]:
            raise BadShard(f"shape and offsets of {name} disagree")
        spans[name] = (offsets[0], offsets[1])
    edges = sorted(spans.values())
    begins, ends = [b for b, _ in edges], [e for _, e in edges]
    if begins != [0, *ends[:-1]] or ends[-1] != n_data:
        raise BadShard("its tensors don't fill the file without gap or overlap")
    n_rows, *row_shape = shape = header["rows"]["shape"]
    if not (len(row_shape) in (1, 3) if "scales" in kinds else row_shape) or any(
        header[name]["shape"] != wanted for name, wanted in _shapes(kinds, shape).items()
    ):
        raise BadShard(f"{', '.join(kinds)} don't belong together")
    row_bytes = math.prod(row_shape) * VALUE_TYPES[storage].itemsize
    if row_bytes > MAX_ROW_BYTES:
        raise BadShard(f"a row can't have {row_bytes:,} bytes; at most {MAX_ROW_BYTES:,}")
    return {name: begin for name, (begin, _) in spans.items()}, n_rows, tuple(row_shape)
