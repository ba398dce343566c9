"""verify: every damage is found and named, and nothing else."""

import json
import math
import os
import sys
import time

import pytest

from transferkit.store import FeatureStore
from transferkit.store.shards import BadShard


def test_verify_names_every_damage(store, spec, other_spec, make_ids, flip, write):
    ids = make_ids(10)
    good, bad, cut, renamed = (write(spec, ids[i : i + 2], str(i)) for i in range(0, 8, 2))
    write(other_spec, ids)
    assert store.verify() == []
    flip(bad, -1)
    cut.write_bytes(cut.read_bytes()[:-1])
    renamed = renamed.rename(renamed.with_name("renamed.safetensors"))
    faults = {f.path: f for f in store.verify()}
    assert faults.keys() == {bad, cut, renamed}
    assert (faults[bad].ids, faults[bad].n_rows, faults[bad].key) == ((ids[3],), 1, spec.key)
    assert "unreadable" in faults[cut].reason
    assert faults[cut].ids == faults[renamed].ids == ()
    assert good.exists()
    assert store.verify(other_spec.key[:6]) == []
    # Whoever verified knows what to compute again, and the rest is still used.
    assert store.missing(spec, ids[:8]) == [ids[3], ids[4], ids[5]]
    assert len(store.read(spec, ids[6:8])) == 2


def test_a_key_that_somebody_is_about_to_write_is_no_fault(
    store, spec, other_spec, make_ids, write
):
    write(other_spec, make_ids(2))
    for kept in ("", ".tmp-0123456789abcdef"):
        (store.path / spec.key).mkdir(exist_ok=True)
        if kept:
            (store.path / spec.key / kept).write_text("{")  # spec.json, half written
        assert FeatureStore(store.path).verify() == []
        assert [k.key for k in FeatureStore(store.path).list_keys()] == [other_spec.key]
        assert FeatureStore(store.path).compact() == FeatureStore(store.path).gc() == []
        assert len(FeatureStore(store.path.with_name("new")).merge(store)) == 1


def test_a_spec_that_is_lost_is_a_fault(store, spec, make_ids, write):
    write(spec, make_ids(2))
    (store.path / spec.key / "spec.json").unlink()
    [fault] = FeatureStore(store.path).verify()
    assert fault.path == store.path / spec.key / "spec.json"
    assert "No such file" in fault.reason


disk_only = pytest.mark.parametrize("place", ["local"])


@disk_only
@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
@pytest.mark.parametrize("what", ["shard", "spec", "shards"])
@pytest.mark.parametrize("stored_as", ["float32"])
def test_what_is_no_file_is_named_at_once(store, spec, other_spec, make_ids, write, kind, what):
    ids = make_ids(4)
    write(spec, ids[:2])
    write(other_spec, ids)
    odd = {
        "shard": store.path / spec.key / "shards" / f"{'0' * 32}.safetensors",
        "spec": store.path / spec.key / "spec.json",
        "shards": store.path / spec.key / "shards",
    }[what]
    if what == "spec":
        odd.unlink()
    elif what == "shards":
        odd.rename(odd.with_name("away"))
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "device":
        odd.symlink_to("/dev/zero")
    else:
        odd.mkdir()
    fresh = FeatureStore(store.path)
    faults = fresh.verify()
    if (what, kind) == ("shards", "folder"):
        assert faults == []  # an empty folder of shards is one
        return
    [fault] = faults
    assert odd.name in str(fault.path) or odd.name in fault.reason
    assert len(fresh.read(other_spec, ids)) == 4
    if what == "shard":
        assert len(fresh.read(spec, ids[:2])) == 2
    new = FeatureStore(store.path.with_name("new"))
    assert [len(m.faults) for m in new.merge(fresh) if m.key == spec.key] == [1]
    assert new.missing(other_spec, ids) == []
    fresh.gc()
    fresh.compact()
    fresh.list_keys()


@disk_only
@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["nothing in it", "rows", "one row", "ids"])
def test_sparse_files_are_refused_unread(store, spec, load, make_ids, write, kind):
    """26 GB that take no place: a size alone, or one that a header bears out."""
    write(spec, make_ids(2))
    path = store.path / spec.key / "shards" / f"{'0' * 32}.safetensors"
    size = 26 * 10**9
    n, width = {"ids": (10**9, 1), "one row": (1, size // 4)}.get(kind, (2, 4))
    spans = {"ids": ("U8", [n, 16]), "crc": ("U32", [n])}
    if spec.storage == "int8":
        spans |= {"scales": ("F32", [n, 1]), "rows": ("I8", [n, 1, 1, width])}
    else:
        spans["rows"] = ("F16" if spec.storage == "float16" else "F32", [n, width])
    header, begin = {"__metadata__": {"key": spec.key}}, 0
    for name, (code, shape) in spans.items():
        end = begin + math.prod(shape) * {"8": 1, "6": 2, "2": 4}[code[-1]]
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header).encode()
    if kind != "nothing in it":
        path.write_bytes(len(text).to_bytes(8, "little") + text)
    else:
        path.touch()
    os.truncate(path, 8 + len(text) + begin if kind in ("ids", "one row") else size)
    fresh = FeatureStore(store.path)
    start = time.perf_counter()
    [fault] = fresh.verify()
    assert fault.path == path
    if kind == "one row":  # whatever other shards there are
        with pytest.raises(BadShard, match=r"a row can't have [\d,]{14} bytes"):
            load(path, spec)
    assert len(fresh.read(spec, make_ids(2))) == 2
    assert time.perf_counter() - start < 10
