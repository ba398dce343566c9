"""merge and export: the doors around the store."""

import csv
import sys

import numpy as np
import pytest

from transferkit.spec import FeatureSpec, Preprocess
from transferkit.store import FORMATS, FeatureStore, export, shards

PREPROCESS = Preprocess((64, 64), "bicubic", 1.0, "center", (0.5,) * 3, (0.5,) * 3)


def spec(feature="pre_logits"):
    return FeatureSpec("timm:resnet18", "{}", "random:0", PREPROCESS, feature)


def ids(*numbers):
    return [bytes([n]) * 16 for n in numbers]


def rows(*numbers, shape=(5,)):
    return np.stack([np.full(shape, n, np.float32) + np.arange(shape[-1]) / 8 for n in numbers])


@pytest.fixture
def stores(root):
    here, there = FeatureStore(root / "here"), FeatureStore(root / "there")
    here.write(spec(), ids(1, 2), rows(1, 2), provenance={"device": "here"})
    there.write(spec(), ids(2, 3, 4), rows(2, 3, 4), provenance={"device": "there"})
    there.write(spec("final.avg"), ids(7), rows(7))
    return here, there


def test_merge_takes_what_is_missing(stores):
    here, there = stores
    merged = {m.key: m for m in here.merge(there)}
    assert (merged[spec().key].n_rows, merged[spec().key].n_known) == (2, 1)
    assert (merged[spec("final.avg").key].n_rows, merged[spec("final.avg").key].n_known) == (1, 0)
    np.testing.assert_array_equal(here.read(spec(), ids(4, 3, 2, 1)), rows(4, 3, 2, 1))
    np.testing.assert_array_equal(here.read(spec("final.avg"), ids(7)), rows(7))
    assert {s.name for s in (here.path / spec().key / "shards").iterdir()}
    assert here.verify() == []
    assert all(m.n_rows == 0 for m in here.merge(there))


def test_merge_of_one_key(stores):
    here, there = stores
    [merged] = here.merge(there, spec("final.avg").key[:6])
    assert merged.n_rows == 1
    assert here.missing(spec(), ids(3)) == ids(3)
    with pytest.raises(ValueError, match="unknown key 'ffff'"):
        here.merge(there, "ffff")


def test_merge_keeps_the_provenance(stores):
    here, there = stores
    other = FeatureStore(here.path.with_name("new"))
    other.merge(there)
    assert other.provenance(spec()) == {"device": "there"}


def test_merge_never_takes_a_damaged_row(stores):
    here, there = stores
    [shard] = (there.path / spec().key / "shards").iterdir()
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1  # of the last row, id 4
    shard.write_bytes(data)
    [merged] = here.merge(FeatureStore(there.path), spec().key)
    assert merged.n_rows == 1
    assert [f.ids for f in merged.faults] == [tuple(ids(4))]
    assert here.missing(spec(), ids(3, 4)) == ids(4)


def test_one_bad_shard_is_a_fault_of_that_shard(stores, tmp_path):
    """Each kind of badness is named; every good row beside it is taken."""
    here, there = stores
    folder = there.path / spec().key / "shards"
    [good] = folder.iterdir()
    bad = folder / f"{'0' * 32}.safetensors"
    bad.write_bytes(good.read_bytes()[:-1])
    other = FeatureStore(tmp_path / "other")
    other.write(spec("stage1.avg"), ids(1), rows(1, shape=(3,)))
    here.write(spec("stage1.avg"), ids(2), rows(2))
    there.write(spec("stage1.avg"), ids(1), rows(1, shape=(3,)))
    broken = there.path / ("0" * 16)
    (broken / "shards").mkdir(parents=True)
    (broken / "spec.json").write_text("{}")
    merged = {m.key: m for m in here.merge(FeatureStore(there.path))}
    assert [f.path for f in merged[spec().key].faults] == [bad]
    assert merged[spec().key].n_rows == 2
    [fault] = merged[spec("stage1.avg").key].faults
    assert fault.reason == "its rows have shape (3,), those that are here (5,)"
    [fault] = merged["0" * 16].faults
    assert fault.path == broken / "spec.json"
    assert here.missing(spec(), ids(1, 2, 3, 4)) == here.missing(spec("final.avg"), ids(7)) == []


def test_values_that_are_not_finite_are_not_taken(stores, monkeypatch):
    """A stranger's checksum holds over NaN as well."""
    here, there = stores
    odd = rows(5, 6)
    odd[0, 2] = np.nan
    with monkeypatch.context() as patch:
        patch.setattr("transferkit.store.inputs._n_not_finite", lambda rows: 0)
        there.write(spec(), ids(5, 6), odd)
    merged = {m.key: m for m in here.merge(there)}
    [fault] = merged[spec().key].faults
    assert fault.ids == tuple(ids(5))
    assert "1 of 2 rows hold values that aren't finite" in fault.reason
    assert here.missing(spec(), ids(3, 4, 5, 6)) == ids(5)


def test_a_shard_that_a_compaction_took_away_meanwhile(stores, monkeypatch):
    here, there = stores
    there.write(spec(), ids(8), rows(8), provenance={"device": "there"})
    intact, n_calls = shards.intact, []

    def compact_first(shard):
        n_calls.append(shard)
        if len(n_calls) == 1:
            FeatureStore(there.path).compact()
        return intact(shard)

    monkeypatch.setattr(shards, "intact", compact_first)
    merged = {m.key: m for m in here.merge(FeatureStore(there.path))}
    assert merged[spec().key].faults == ()
    assert (merged[spec().key].n_rows, merged[spec().key].n_known) == (3, 1)
    assert here.missing(spec(), ids(2, 3, 4, 8)) == []


def test_shards_that_come_while_others_are_taken(stores, monkeypatch):
    here, there = stores
    intact, n_written = shards.intact, []

    def write_one_more(shard):
        if len(n_written) < limit:
            n = 10 + len(n_written)
            n_written.append(n)
            there.write(spec(), ids(n), rows(n))
        return intact(shard)

    monkeypatch.setattr(shards, "intact", write_one_more)
    limit = 5
    merged = {m.key: m for m in here.merge(FeatureStore(there.path), spec().key)}
    assert (merged[spec().key].n_rows, merged[spec().key].n_left) == (7, 0)
    assert here.missing(spec(), ids(*n_written)) == []
    limit = 1000  # a writer that never ends is not waited for, and that is told
    [one] = here.merge(FeatureStore(there.path), spec().key)
    assert one.n_left > 0


def read_back(path, form):
    if form == "npy":
        with path.with_name(f"{path.name}.csv").open() as file:
            table = list(csv.DictReader(file))
        columns = {name: [t[name] for t in table] for name in table[0]}
        return np.load(path), columns
    if form == "parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path).to_pydict()
        return np.array(table.pop("features"), np.float32), table
    import h5py

    with h5py.File(path) as file:
        columns = {
            {"ids": "id", "paths": "path"}.get(name, name): [t.decode() for t in file[name][:]]
            for name in file
            if name != "features"
        }
        return file["features"][:], columns


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("block_bytes", [1, 64 * 2**20])
def test_export_has_rows_ids_and_paths_in_order(stores, tmp_path, monkeypatch, form, block_bytes):
    monkeypatch.setattr("transferkit.store.rows._BATCH_BYTES", block_bytes)
    _, there = stores
    path = export(
        there,
        spec(),
        tmp_path / "out",
        ids=ids(4, 2, 4),
        names=["a", "b/ü", "c"],
        labels={"label": ["x", "", "z"]},
        form=form,
    )
    got, columns = read_back(path, form)
    np.testing.assert_array_equal(got, rows(4, 2, 4))
    assert columns == {
        "id": [i.hex() for i in ids(4, 2, 4)],
        "path": ["a", "b/ü", "c"],
        "label": ["x", "", "z"],
    }
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


@pytest.mark.parametrize("form", FORMATS)
def test_export_of_everything(stores, tmp_path, form):
    _, there = stores
    got, columns = read_back(export(there, spec(), tmp_path / "out", form=form), form)
    np.testing.assert_array_equal(got, rows(2, 3, 4))
    # The store knows no paths: there's no column of empty ones.
    assert columns == {"id": [i.hex() for i in ids(2, 3, 4)]}


@pytest.mark.parametrize("form", FORMATS)
def test_a_path_that_is_not_utf8_is_no_obstacle(stores, tmp_path, form):
    _, there = stores
    name = "a\udcff.jpg"
    out = export(there, spec(), tmp_path / "out", ids=ids(2), names=[name], form=form)
    if form == "npy":
        assert b"a\xff.jpg" in out.with_name("out.csv").read_bytes()
    else:
        assert read_back(out, form)[1]["path"] == [r"a\xff.jpg"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("form", ["npy", "parquet"])
def test_a_full_disk_is_named(stores, tmp_path, form):
    import resource

    _, there = stores
    export(there, spec(), tmp_path / "out", form=form)
    content = (tmp_path / "out").read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match=r"could not write '.*out': .*; what is there already is"):
            export(there, spec(), tmp_path / "out", ids=ids(2), form=form)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "out").read_bytes() == content


def test_export_of_maps(tmp_path):
    store = FeatureStore(tmp_path / "store")
    maps = rows(1, 2, shape=(3, 2, 2))
    store.write(spec("final.map"), ids(1, 2), maps)
    np.testing.assert_array_equal(np.load(export(store, spec("final.map"), tmp_path / "m")), maps)


def test_export_errors(stores, tmp_path):
    _, there = stores
    with pytest.raises(ValueError, match="format is 'xls'; choose one of npy, parquet, hdf5"):
        export(there, spec(), tmp_path / "x", form="xls")
    with pytest.raises(ValueError, match="no rows"):
        export(there, spec("logits"), tmp_path / "x")
    with pytest.raises(ValueError, match="3 ids, but 1 names"):
        export(there, spec(), tmp_path / "x", names=["a"])
    with pytest.raises(ValueError, match="3 ids, but 1 values of 'label'"):
        export(there, spec(), tmp_path / "x", labels={"label": ["a"]})
    with pytest.raises(ValueError, match="a column can't be called 'id'"):
        export(there, spec(), tmp_path / "x", labels={"id": ["a", "b", "c"]})
    with pytest.raises(LookupError):
        export(there, spec(), tmp_path / "x", ids=ids(9))
    assert not (tmp_path / "x").exists()


def test_a_missing_library_is_named(stores, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"pip install 'transferkit\[hdf5\]'"):
        export(stores[1], spec(), tmp_path / "x", form="hdf5")
