"""compact: small shards become one, and no good row is ever lost, by gc neither."""

import random

import numpy as np
import pytest

from transferkit.store import FeatureStore, compacting, shards


def test_compact_merges_small_shards(store, spec, make_ids, rows_of, names, write):
    ids = make_ids(40)
    for i in range(0, 40, 4):
        write(spec, ids[i : i + 6], date=f"2025-01-{10 + i}")
    before = store.read(spec, ids)
    (done,) = store.compact(spec.key)
    assert names(spec) == {done.merged.name}
    assert len(done.sources) == 10
    assert (done.n_rows, done.n_dropped) == (40, 0)
    assert store.provenance(spec) == {"run": "1", "date": "2025-01-10 … 2025-01-46"}
    for reader in (store, FeatureStore(store.path)):
        np.testing.assert_array_equal(reader.read(spec, ids), before)
        assert reader.info(spec.key).n_rows == 40
    assert store.verify() == store.compact() == store.gc() == []
    more = make_ids(2, 100)
    write(spec, more, date="2025-02-01")
    assert len(store.compact()) == 1
    assert store.provenance(spec)["date"] == "2025-01-10 … 2025-02-01"
    np.testing.assert_array_equal(store.read(spec, ids + more), rows_of(ids + more))


def test_compact_keeps_rows_of_different_provenance_apart(store, spec, load, make_ids, write):
    ids = make_ids(12)
    for i in range(12):
        write(spec, [ids[i]], str(i % 3), date=str(i))
    assert len(store.compact()) == 3
    found = {}
    for path in (store.path / spec.key / "shards").iterdir():
        shard = load(path, spec)
        found |= dict.fromkeys(shards.raw_ids(shard.ids), shard.metadata["run"])
    assert found == {one: str(i % 3) for i, one in enumerate(ids)}


def test_compact_keeps_to_the_target_size(
    store, spec, make_ids, rows_of, monkeypatch, names, write
):
    ids = make_ids(64)
    sizes = [write(spec, ids[i : i + 4]).stat().st_size for i in range(0, 64, 4)]
    monkeypatch.setattr(compacting, "TARGET_BYTES", 4 * max(sizes))
    assert len(store.compact()) == 4
    assert len(names(spec)) == 4
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))
    monkeypatch.setattr(compacting, "TARGET_BYTES", 2 * min(sizes))
    assert store.compact() == []


def test_compact_leaves_damage_behind(store, spec, make_ids, rows_of, flip, write):
    ids = make_ids(8)
    first = write(spec, ids[:4])
    second = write(spec, ids[4:])
    lost = write(spec, make_ids(1, 99), "2")
    cut = write(spec, make_ids(2, 70), "3")
    flip(first, -1)
    flip(lost, -1)
    cut.write_bytes(cut.read_bytes()[:-1])
    done = {d.sources: d for d in store.compact()}
    assert sum(d.n_dropped for d in done.values()) == 2
    assert done[(lost,)].merged is None
    assert not lost.exists()
    assert not first.exists()
    assert not second.exists()
    assert cut.exists()  # Not ours to judge: verify names it.
    assert [f.path for f in store.verify()] == [cut]
    assert store.missing(spec, ids) == [ids[3]]
    good = [i for i in ids if i != ids[3]]
    np.testing.assert_array_equal(store.read(spec, good), rows_of(good))


def test_compact_of_a_shard_that_holds_the_others(
    store, spec, make_ids, rows_of, flip, names, write
):
    ids = make_ids(5)
    whole = write(spec, ids)
    part = write(spec, [*make_ids(1, 9), *ids[:2]])
    at = part.read_bytes().index(make_ids(1, 9)[0])
    flip(part, at)  # Its id is damaged, so gc must keep it.
    assert store.gc() == []
    (done,) = store.compact()
    assert (done.merged, done.sources) == (whole, (part,))
    assert names(spec) == {whole.name}
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))


def test_a_failing_disk_is_no_licence_to_remove(store, spec, make_ids, rows_of, monkeypatch, write):
    ids = make_ids(6)
    paths = [write(spec, part) for part in (ids, ids[:3], ids[3:])]
    plain = shards.intact

    def fails(shard):
        if shard.path == paths[0]:
            raise OSError(5, "Input/output error")
        return plain(shard)

    monkeypatch.setattr(shards, "intact", fails)
    assert store.gc() == []
    assert [f.path for f in store.verify()] == [paths[0]]
    store.compact()
    assert paths[0].exists()
    monkeypatch.undo()
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))


@pytest.mark.parametrize("seed", range(20))
def test_no_good_row_is_ever_lost(store, spec, make_ids, rows_of, damage, seed, write):
    """Random shards, damage, gc and compact: every row with a good copy keeps one."""
    rng = random.Random(seed)
    ids = make_ids(12)
    good = set()
    for run in range(rng.randrange(2, 9)):
        part = rng.sample(ids, rng.randrange(1, 9))
        path = write(spec, part, rng.choice("ab"), date=str(run))
        bad = {i for i in range(len(part)) if rng.random() < 0.3}
        for i in bad:
            damage(path, i)
        good |= {one for i, one in enumerate(part) if i not in bad}
    kept = sorted(good)
    for step in rng.choices(["gc", "compact"], k=3):
        fresh = FeatureStore(store.path)
        getattr(fresh, step)()
        for reader in (fresh, FeatureStore(store.path)):
            np.testing.assert_array_equal(reader.read(spec, kept), rows_of(kept))
    FeatureStore(store.path).compact()
    fresh = FeatureStore(store.path)
    assert fresh.verify() == []
    assert set(ids) - set(fresh.missing(spec, ids)) == good
