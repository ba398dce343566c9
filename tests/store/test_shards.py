"""One file's format: readable by others, and named by its content."""

import re

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from transferkit.store import FeatureStore, shards


@pytest.mark.parametrize("n", [1, 3, 10])
@pytest.mark.parametrize("shape", [(1,), (5,), (3, 2, 2)])
def test_safetensors_reads_our_shards(store, spec, make_ids, rows_of, tmp_path, n, shape):
    ids = make_ids(n)
    path = store.write(spec, ids, rows_of(ids, shape), provenance={"device": "cpu"})
    tensors = safetensors.numpy.load(path.read_bytes())
    assert [bytes(i) for i in tensors["ids"]] == ids
    np.testing.assert_array_equal(tensors["rows"], rows_of(ids, shape))
    assert tensors["rows"].dtype == spec.storage
    if spec.storage == "int8":  # of these rows, 127 is the largest of each channel or block
        n_scales = 1 if tensors["rows"].ndim == 2 else tensors["rows"].shape[1]
        np.testing.assert_array_equal(tensors["scales"], np.ones((n, n_scales)))
    assert tensors["crc"].dtype == np.uint32
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(path.read_bytes())
    with safetensors.safe_open(copy, "np") as file:
        assert file.metadata() == {"device": "cpu", "key": spec.key}


def test_we_read_what_safetensors_writes(store, spec, make_ids, rows_of):
    # It orders the tensors otherwise.
    ids = make_ids(5)
    path = store.write(spec, ids, rows_of(ids))
    tensors = safetensors.numpy.load(path.read_bytes())
    path.unlink()
    other = path.with_name("named-by-hand.safetensors")
    other.write_bytes(safetensors.numpy.save(tensors, {"key": spec.key}))
    np.testing.assert_array_equal(FeatureStore(store.path).read(spec, ids), rows_of(ids))


def test_the_name_is_the_digest(shard, spec, load):
    assert re.fullmatch(r"[0-9a-f]{32}\.safetensors", shard.name)
    assert shards.digest(load(shard, spec)) == shard.stem


def test_rows_are_read_in_blocks_of_any_size(store, spec, make_ids, rows_of, monkeypatch):
    ids = make_ids(50)
    store.write(spec, ids, rows_of(ids))
    chosen = [ids[i] for i in (3, 4, 4, 30, 31, 49, 0)]
    for block, gap in [(1, 0), (16, 1 << 16), (40, 16), (1 << 24, 0), (1 << 24, 1 << 16)]:
        monkeypatch.setattr(shards, "BLOCK_BYTES", block)
        monkeypatch.setattr(type(store.place), "gap_bytes", gap)
        np.testing.assert_array_equal(store.read(spec, chosen), rows_of(chosen))


@pytest.mark.parametrize(
    ("stored_as", "key", "name"),
    [
        ("float32", "f51c54daeec6ffeb", "6b0fad87e8dea998ad5ed9d68a7a27d8"),
        ("float16", "d35e14834024b80c", "09bb85c95c52f4907884a61c311e4217"),
    ],
)
def test_the_bytes_are_those_of_earlier_versions(store, spec, key, name):
    # A changed value here means that nobody's rows are found any more: raise FORMAT_VERSION.
    ids = [bytes([i]) * 16 for i in range(3)]
    rows = np.arange(12).reshape(3, 4) / 8
    path = store.write(spec, ids, rows, provenance={"device": "cpu"})
    assert (spec.key, path.stem) == (key, name)
