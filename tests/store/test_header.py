"""A header: nothing in it is believed that the file doesn't bear out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from transferkit.store import FeatureStore, MissingRows
from transferkit.store.header import BadShard


def split(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(path: Path, header: object, data: bytes) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def hostile_headers() -> dict[str, Callable[[dict[str, Any]], object]]:
    def entry(name: str, **values: object) -> Callable[[dict[str, Any]], object]:
        return lambda h: h | {name: h[name] | values}

    return {
        "no metadata": lambda h: {k: v for k, v in h.items() if k != "__metadata__"},
        "metadata aren't texts": lambda h: h | {"__metadata__": {"key": 5}},
        "another key": lambda h: h | {"__metadata__": {"key": "0" * 16}},
        "tensor missing": lambda h: {k: v for k, v in h.items() if k != "crc"},
        "tensor too many": lambda h: h | {"more": h["crc"]},
        "not an object": lambda h: [h],
        "not a tensor": lambda h: h | {"rows": 3},
        "entry with more": entry("rows", more=1),
        "wrong type": entry("rows", dtype="F16"),
        "unknown type": entry("rows", dtype="PICKLE"),
        "type isn't text": entry("rows", dtype=["F32"]),
        "offsets beyond the file": entry("rows", data_offsets=[60, 10**15], shape=[3, 10**15]),
        "rows beyond the file": entry("rows", data_offsets=[60, 92], shape=[4, 2]),
        "offsets overlap": entry("crc", data_offsets=[40, 52]),
        "offsets backwards": entry("rows", data_offsets=[84, 60]),
        "offsets negative": entry("rows", data_offsets=[-24, 0]),
        "offsets are floats": entry("rows", data_offsets=[60.0, 84.0]),
        "shape negative": entry("rows", shape=[-3, -2]),
        "shape of truth": entry("rows", shape=[3, True, 2]),
        "shape with zero": entry("rows", shape=[3, 0, 10**18], data_offsets=[60, 60]),
        "shape too deep": entry("rows", shape=[3, 2] + [1] * 100),
        "rows have no shape": entry("rows", shape=[6]),
        "counts differ": entry("rows", shape=[6, 1]),
        "ids too wide": entry("ids", shape=[1, 48]),
        "huge number": lambda h: json.dumps(h).replace("60", "9" * 5000).encode(),
        "twice the same name": lambda h: json.dumps(h).replace('"crc"', '"ids"').encode(),
        "deeply nested": lambda h: b"[" * 100_000,
        "not JSON": lambda h: b"cos\nsystem\n(S'echo'\ntR.",
        "not text": lambda h: b"\xff\xfe{}",
        "empty": lambda h: b"",
    }


@pytest.mark.parametrize("stored_as", ["float32"])  # by whose sizes the headers above are made
@pytest.mark.parametrize("name", hostile_headers())
def test_hostile_headers_are_refused(shard, store, spec, load, make_ids, caplog, name):
    header, data = split(shard)
    join(shard, hostile_headers()[name](header), data)
    with pytest.raises(BadShard):
        load(shard, spec)
    fresh = FeatureStore(store.path)
    assert fresh.missing(spec, make_ids(3)) == make_ids(3)
    assert shard.name in caplog.text
    with pytest.raises(MissingRows, match=f"aren't in .*unreadable: {shard.name}"):
        fresh.read(spec, make_ids(3))


@pytest.mark.parametrize("length", [0, 1, 10**6, 2**31, 2**63, 2**64 - 1])
def test_a_lying_header_length_is_refused(shard, spec, load, length):
    content = shard.read_bytes()
    shard.write_bytes(length.to_bytes(8, "little") + content[8:])
    with pytest.raises(BadShard, match="header can't be"):
        load(shard, spec)


def test_a_gap_between_tensors_is_refused(shard, spec, load):
    header, data = split(shard)
    for value in header.values():
        if "data_offsets" in value and value["data_offsets"][0]:
            value["data_offsets"] = [o + 8 for o in value["data_offsets"]]
    assert header["crc"]["data_offsets"] == [56, 68]  # behind three ids
    join(shard, header, data[:48] + bytes(8) + data[48:])
    with pytest.raises(BadShard, match="without gap"):
        load(shard, spec)


def test_truncations_and_extensions_are_refused(shard, store, spec, load, make_ids):
    content = shard.read_bytes()
    for n in {*range(0, len(content), 5), *range(12), *range(len(content) - 9, len(content))}:
        shard.write_bytes(content[:n])
        with pytest.raises(BadShard):
            load(shard, spec)
    shard.write_bytes(content + b"\0")
    with pytest.raises(BadShard):
        load(shard, spec)
    assert FeatureStore(store.path).missing(spec, make_ids(3)) == make_ids(3)


def test_a_header_that_readers_would_refuse_is_not_written(store, spec, make_ids, rows_of):
    ids = make_ids(1)
    with pytest.raises(ValueError, match=r"provenance takes .* bytes"):
        store.write(spec, ids, rows_of(ids), provenance={"log": "x" * (1 << 20)})
    assert store.missing(spec, ids) == ids
