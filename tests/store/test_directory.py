"""`FeatureStore`: what goes in comes out, in any order, and nothing else ever does."""

import copy
import gc
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from transferkit.digests import DigestMemory
from transferkit.store import FeatureStore, MissingRows, files


def test_nothing_is_created_before_the_first_write(store, spec, make_ids):
    assert store.missing(spec, make_ids(3)) == make_ids(3)
    assert store.provenance(spec) is None
    assert store.specs() == store.list_keys() == store.verify() == store.gc() == []
    assert store.compact() == []
    assert not store.path.exists()


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 2, 5)])
def test_rows_come_back_in_any_order_with_repeats(store, spec, make_ids, rows_of, shape):
    ids = make_ids(40)
    for begin in range(0, 40, 8):
        part = ids[begin : begin + 8]
        store.write(spec, part, rows_of(part, shape))
    rng = np.random.default_rng(0)
    for n in (0, 1, 5, 40, 200):
        asked = [ids[i] for i in rng.integers(0, 40, n)]
        for reader in (store, FeatureStore(store.path)):
            found = reader.read(spec, asked)
            np.testing.assert_array_equal(found, rows_of(asked, shape))
            assert found.dtype == rows_of(asked, shape).dtype
            assert found.flags.c_contiguous
            assert found.flags.writeable


def test_nothing_asked_of_nothing(store, spec):
    assert store.read(spec, []).shape == (0, 0)
    assert store.missing(spec, []) == []


def test_missing_keeps_the_order_and_names_each_once(store, spec, make_ids, rows_of):
    ids = make_ids(10)
    held = ids[::2]
    store.write(spec, held, rows_of(held))
    asked = [*reversed(ids), *ids]
    assert store.missing(spec, asked) == [i for i in reversed(ids) if i not in held]
    store.write(spec, ids[1::2], rows_of(ids[1::2]))
    assert store.missing(spec, asked) == []


def test_ids_that_differ_in_zeros_are_different(store, spec, rows_of):
    ids = [b"a" + b"\0" * 15, b"a\0b" + b"\0" * 13, b"\0" * 16, b"\0" * 15 + b"a"]
    rows = rows_of(ids)
    store.write(spec, ids, rows)
    np.testing.assert_array_equal(store.read(spec, ids[::-1]), rows[::-1])
    assert store.missing(spec, [b"a" * 16]) == [b"a" * 16]


def test_specs_are_kept_apart(store, spec, other_spec, make_ids, rows_of):
    ids = make_ids(4)
    store.write(spec, ids, rows_of(ids))
    assert store.missing(other_spec, ids) == ids
    store.write(other_spec, ids, rows_of(ids, (9,)))
    assert store.read(spec, ids).shape == rows_of(ids).shape
    assert store.read(other_spec, ids).shape == rows_of(ids, (9,)).shape
    assert sorted(s.key for s in store.specs()) == sorted([spec.key, other_spec.key])


@pytest.mark.parametrize("stored_as", ["float16"])
def test_float16_is_stored_rounded(store, spec, make_ids):
    ids = make_ids(2)
    rows = np.random.default_rng(0).normal(size=(2, 5))
    store.write(spec, ids, rows)
    found = store.read(spec, ids)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, rows.astype(np.float16))


@pytest.mark.parametrize(
    ("stored_as", "largest"),
    [
        ("float32", "3.40282e+38"),
        ("float16", "65504"),
        ("int8", "3.37624e+38"),
        ("int8-maps", "3.37624e+38"),
    ],
)
def test_values_above_the_storage_type_are_refused(store, spec, make_ids, map_shape, largest):
    shape = (3, *map_shape(1))
    beyond = 1.001 * float(largest)
    for rows in ([1, beyond, -beyond], [1, 1e300, -1e300]):
        with pytest.raises(ValueError, match=re.escape(f"2 of 3 rows hold values above {largest}")):
            store.write(spec, make_ids(3), np.array(rows).reshape(shape))
    assert not store.path.exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_never_stored(store, spec, make_ids, rows_of, value):
    ids = make_ids(5)
    rows = rows_of(ids)
    rows.reshape(5, -1)[[1, 4], 2] = value
    with pytest.raises(ValueError, match="2 of 5 rows hold values that aren't finite"):
        store.write(spec, ids, rows)
    assert store.missing(spec, ids) == ids


@pytest.mark.parametrize(
    ("n", "rows"),
    [
        (2, np.zeros((3, 4))),
        (2, np.zeros(2)),
        (2, np.zeros((2, 0))),
        (0, np.zeros((0, 4))),
        (1, np.zeros((1,) * 9)),
        (1, np.array([["text"]])),
        (1, np.zeros((1, 2), complex)),
    ],
)
def test_rows_that_fit_nothing_are_refused(store, spec, make_ids, n, rows):
    with pytest.raises(ValueError, match="give"):
        store.write(spec, make_ids(n), rows)
    assert not store.path.exists()


@pytest.mark.parametrize("wrong", [b"short", b"x" * 17, "x" * 16, bytearray(16), 5])
def test_ids_are_sixteen_bytes(store, spec, make_ids, wrong):
    for ask in (store.missing, store.read):
        with pytest.raises(ValueError, match="isn't a row id; give 16 bytes"):
            ask(spec, [*make_ids(1), wrong])


def test_one_spec_has_one_row_shape(store, spec, make_ids, rows_of):
    ids = make_ids(4)
    store.write(spec, ids[:2], rows_of(ids[:2]))
    for writer in (store, FeatureStore(store.path)):
        with pytest.raises(ValueError, match=r"shape \([1, ]*5,?\), those in .* \([1, ]*4,?\)"):
            writer.write(spec, ids[2:], rows_of(ids[2:], (5,)))


def test_a_stray_shape_is_left_out(store, spec, make_ids, rows_of, tmp_path, caplog):
    ids = make_ids(6)
    store.write(spec, ids[:4], rows_of(ids[:4]))
    other = FeatureStore(tmp_path / "other")
    path = other.write(spec, ids[4:], rows_of(ids[4:], (1,)))
    for name in ("0.safetensors", "z.safetensors"):
        stray = store.path / spec.key / "shards" / name
        stray.write_bytes(path.read_bytes())
        for reader in (store, FeatureStore(store.path)):
            assert reader.missing(spec, ids) == ids[4:]
            np.testing.assert_array_equal(reader.read(spec, ids[:4]), rows_of(ids[:4]))
        assert name in caplog.text
        stray.unlink()


@pytest.mark.parametrize("provenance", [{"key": "x"}, {"batch_size": 64}, {5: "x"}])
def test_provenance_is_texts_by_name(store, spec, make_ids, rows_of, provenance):
    with pytest.raises(ValueError, match="give texts by name"):
        store.write(spec, make_ids(1), rows_of(make_ids(1)), provenance=provenance)


def test_provenance_is_that_of_the_first_shard_by_name(store, spec, make_ids, rows_of):
    paths = {}
    for i in range(6):
        ids = make_ids(2, 2 * i)
        path = store.write(spec, ids, rows_of(ids), provenance={"batch_size": str(i)})
        paths[path.name] = {"batch_size": str(i)}
    assert store.provenance(spec) == paths[min(paths)]
    assert FeatureStore(store.path).provenance(spec) == paths[min(paths)]


def test_of_equal_ids_the_smallest_name_wins(store, spec, make_ids, rows_of):
    ids = make_ids(3)
    versions = [rows_of(make_ids(3, begin)) for begin in range(0, 80, 10)]
    written = {store.write(spec, ids, rows).name: rows for rows in versions}
    expected = written[min(written)]
    for reader in (store, FeatureStore(store.path)):
        np.testing.assert_array_equal(reader.read(spec, ids), expected)


def test_missing_rows_are_named(store, spec, make_ids, rows_of):
    ids = make_ids(5)
    store.write(spec, ids[:3], rows_of(ids[:3]))
    with pytest.raises(MissingRows, match="2 of the rows asked for aren't in") as caught:
        store.read(spec, [ids[4], *ids, ids[3]])
    assert caught.value.ids == (ids[4], ids[3])
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (str(twin), twin.ids) == (str(caught.value), caught.value.ids)


def test_other_writers_are_seen(store, spec, make_ids, rows_of):
    ids = make_ids(6)
    other = FeatureStore(store.path)
    for i in ids:
        assert store.missing(spec, [i]) == [i]
        other.write(spec, [i], rows_of([i]))
        assert store.missing(spec, [i]) == []
        np.testing.assert_array_equal(store.read(spec, [i]), rows_of([i]))


def test_large_results_live_in_a_temporary_file(store, spec, make_ids, rows_of, monkeypatch):
    ids = make_ids(100)
    store.write(spec, ids, rows_of(ids))
    monkeypatch.setattr(files, "MEMORY_BYTES", 700)
    found = store.read(spec, ids)
    assert isinstance(found, np.memmap)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, rows_of(ids))
    found[0] = 0  # Nobody else's: the store stays as it is.
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))
    assert not isinstance(store.read(spec, ids[:10]), np.memmap)


@pytest.mark.skipif(sys.platform != "linux", reason="lists open files through /proc")
def test_nothing_stays_open(store, spec, make_ids, rows_of, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    ids = make_ids(100)
    store.write(spec, ids, rows_of(ids))
    monkeypatch.setattr(files, "MEMORY_BYTES", 1000)
    found = store.read(spec, ids)
    assert list((tmp_path / "scratch").iterdir()) == []
    del found
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == len(before)  # noqa: PTH208


def test_copies_read_for_themselves(store, spec, make_ids, rows_of):
    ids = make_ids(3)
    store.write(spec, ids, rows_of(ids))
    for twin in (pickle.loads(pickle.dumps(store)), copy.deepcopy(store)):
        assert twin.path == store.path
        assert twin._indexes == {}
        np.testing.assert_array_equal(twin.read(spec, ids), rows_of(ids))


@pytest.mark.parametrize("place", ["local"])
def test_a_read_only_store_is_readable(store, spec, make_ids, rows_of):
    ids = make_ids(3)
    store.write(spec, ids, rows_of(ids))
    before = {p: p.stat().st_mtime_ns for p in store.path.rglob("*")}
    folders = [store.path, *(p for p in store.path.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        reader = FeatureStore(store.path)
        np.testing.assert_array_equal(reader.read(spec, ids), rows_of(ids))
        assert reader.missing(spec, make_ids(4)) == make_ids(4)[3:]
        assert reader.info(spec.key).n_rows == 3
        assert reader.verify() == []
        # Even for root, whom modes don't stop: reading wrote nothing.
        assert {p: p.stat().st_mtime_ns for p in store.path.rglob("*")} == before
    finally:
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.parametrize("place", ["local"])
def test_files_follow_the_umask(store, spec, make_ids, rows_of):
    old = os.umask(0o022)
    try:
        path = store.write(spec, make_ids(1), rows_of(make_ids(1)))
    finally:
        os.umask(old)
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o644


def test_default_path(monkeypatch, tmp_path):
    monkeypatch.setenv("TRANSFERKIT_STORE", str(tmp_path / "mine"))
    assert FeatureStore().path == tmp_path / "mine"
    monkeypatch.delenv("TRANSFERKIT_STORE")
    monkeypatch.delenv("TRANSFERKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert FeatureStore().path == tmp_path / "cache" / "transferkit" / "store"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert FeatureStore().path == tmp_path / ".cache" / "transferkit" / "store"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert FeatureStore().path == tmp_path / "Library" / "Caches" / "transferkit" / "store"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert FeatureStore().path == tmp_path / "local" / "transferkit" / "store"


def test_the_cache_folder_moves_the_store_but_not_one_that_is_there(monkeypatch, tmp_path):
    monkeypatch.delenv("TRANSFERKIT_STORE")
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert FeatureStore().path == tmp_path / "mine" / "store"
    assert DigestMemory().path == tmp_path / "mine" / "digests.sqlite"
    # Rows that were stored before the store moved along are still used ...
    earlier = tmp_path / "user" / "transferkit" / "store"
    earlier.mkdir(parents=True)
    assert FeatureStore().path == earlier
    # ... until there is a store in the new place.
    (tmp_path / "mine" / "store").mkdir(parents=True)
    assert FeatureStore().path == tmp_path / "mine" / "store"


@pytest.mark.parametrize("place", ["local"])
def test_a_failed_write_leaves_nothing(store, spec, make_ids, rows_of, monkeypatch):
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OSError, match=r"No space left on device; what was stored before is kept.*store"
    ):
        store.write(spec, make_ids(1), rows_of(make_ids(1)))
    assert [p for p in store.path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("place", ["local"])
def test_a_shard_is_on_the_disk_before_it_has_its_name(store, spec, make_ids, rows_of, monkeypatch):
    events = []
    replace = Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: events.append("sync"))

    def note(self, target):
        events.append(Path(target).suffix)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", note)
    store.write(spec, make_ids(1), rows_of(make_ids(1)))
    of_file_and_folder = ["sync", "sync"] if os.name == "posix" else ["sync"]
    expected = [".json", ".safetensors"]
    assert [e for e in events if e != "sync"] == expected
    assert events == [e for suffix in expected for e in ("sync", suffix, *of_file_and_folder[1:])]


def test_importing_the_store_loads_no_network():
    code = "import sys, transferkit.store; print({'torch', 'timm', 'torchvision'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["none", "None", "", " ", "false", "off", "no", Path("None")])
def test_a_choice_is_no_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"looks like a choice, not like a folder.*store=False"):
        FeatureStore(name)
    assert FeatureStore(tmp_path / "none").path == tmp_path / "none"


def test_a_choice_in_the_environment_is_no_folder(monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_STORE", "none")
    with pytest.raises(ValueError, match="store 'none' looks like a choice"):
        FeatureStore()
