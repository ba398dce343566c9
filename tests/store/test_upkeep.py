"""verify, gc, compact: no good row is ever lost, whatever is damaged and whoever else is at it."""

import os
import random
import time

import numpy as np
import pytest

from transferkit.store import FeatureStore, shards, upkeep


def names(store: FeatureStore, spec) -> set[str]:
    return {p.name for p in (store.path / spec.key / "shards").iterdir()}


def write(store, spec, ids, rows_of, run="1", **more):
    return store.write(spec, ids, rows_of(ids), provenance={"run": run, **more})


def test_verify_names_every_damage(store, spec, half_spec, make_ids, rows_of, flip):
    ids = make_ids(10)
    good, bad, cut, renamed = (
        write(store, spec, ids[i : i + 2], rows_of, str(i)) for i in range(0, 8, 2)
    )
    write(store, half_spec, ids, rows_of)
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
    assert store.verify(half_spec.key[:6]) == []
    # Whoever verified knows what to compute again, and the rest is still used.
    assert store.missing(spec, ids[:8]) == [ids[3], ids[4], ids[5]]
    assert len(store.read(spec, ids[6:8])) == 2


def test_gc_removes_what_stands_elsewhere(store, spec, make_ids, rows_of):
    ids = make_ids(10)
    whole = write(store, spec, ids, rows_of)
    parts = [write(store, spec, ids[i : i + 5], rows_of) for i in (0, 5)]
    other = write(store, spec, [*ids[:2], *make_ids(1, 50)], rows_of)
    would = store.gc(dry_run=True)
    assert {r.path for r in would} == set(parts)
    assert names(store, spec) == {p.name for p in (whole, *parts, other)}
    assert store.gc() == would
    assert names(store, spec) == {whole.name, other.name}
    assert store.gc() == []
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))


def test_gc_never_removes_both_of_two_twins(store, spec, make_ids, rows_of):
    ids = make_ids(4)
    paths = {write(store, spec, ids, rows_of, str(run)) for run in range(5)}
    assert len(store.gc()) == 4
    assert len(names(store, spec) & {p.name for p in paths}) == 1
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))


def test_gc_and_damage(store, spec, make_ids, rows_of, flip):
    ids = make_ids(4)
    damaged = write(store, spec, ids, rows_of, "0")
    flip(damaged, -1)
    fresh = FeatureStore(store.path)
    assert fresh.gc() == []  # The damaged row stands nowhere else.
    repaired = write(store, spec, ids[3:], rows_of, "1")
    assert fresh.gc() == []  # Each has what the other lacks.
    again = write(store, spec, ids, rows_of, "2")
    assert {r.path for r in fresh.gc()} == {damaged, repaired}
    assert names(store, spec) == {again.name}
    np.testing.assert_array_equal(fresh.read(spec, ids), rows_of(ids))


def test_gc_removes_a_shard_of_damaged_rows_that_stand_elsewhere(
    store, spec, make_ids, rows_of, flip
):
    ids = make_ids(4)
    damaged = write(store, spec, ids, rows_of)
    for row in range(4):
        flip(damaged, -1 - 16 * row)
    parts = [write(store, spec, ids[i : i + 2], rows_of) for i in (0, 2)]
    assert [r.path for r in store.gc()] == [damaged]
    assert names(store, spec) == {p.name for p in parts}


def test_gc_of_temporary_files(store, spec, make_ids, rows_of):
    shard = write(store, spec, make_ids(1), rows_of)
    old, new = shard.parent / ".tmp-old", shard.parent / ".tmp-new"
    older = shard.parent.parent / ".tmp-older"
    for path in (old, new, older):
        path.write_bytes(b"123")
    day_ago = time.time() - 25 * 3600
    for path in (old, older, shard):
        os.utime(path, (day_ago, day_ago))
    assert {r.path for r in store.gc(dry_run=True)} == {old, older}
    assert {(r.path, r.n_bytes) for r in store.gc()} == {(old, 3), (older, 3)}
    assert new.exists()
    assert shard.exists()


def test_gc_of_named_keys(store, spec, half_spec, make_ids, rows_of):
    ids = make_ids(3)
    for one in (spec, half_spec):
        write(store, one, ids, rows_of)
    with pytest.raises(ValueError, match="unknown key"):
        store.gc([spec.key, "nothing"])
    assert len(store.gc([spec.key[:9]], dry_run=True)) == 1
    assert store.missing(spec, ids) == []
    (removed,) = store.gc([spec.key[:9]])
    assert (removed.key, removed.path) == (spec.key, store.path / spec.key)
    assert removed.n_bytes > 0
    assert not removed.path.exists()
    assert store.missing(spec, ids) == ids
    np.testing.assert_array_equal(store.read(half_spec, ids), rows_of(ids))


def test_compact_merges_small_shards(store, spec, make_ids, rows_of):
    ids = make_ids(40)
    for i in range(0, 40, 4):
        write(store, spec, ids[i : i + 6], rows_of, date=f"2025-01-{10 + i}")
    before = store.read(spec, ids)
    (done,) = store.compact(spec.key)
    assert names(store, spec) == {done.merged.name}
    assert len(done.sources) == 10
    assert (done.n_rows, done.n_dropped) == (40, 0)
    assert store.provenance(spec) == {"run": "1", "date": "2025-01-10 … 2025-01-46"}
    for reader in (store, FeatureStore(store.path)):
        np.testing.assert_array_equal(reader.read(spec, ids), before)
        assert reader.info(spec.key).n_rows == 40
    assert store.verify() == store.compact() == store.gc() == []
    more = make_ids(2, 100)
    write(store, spec, more, rows_of, date="2025-02-01")
    assert len(store.compact()) == 1
    assert store.provenance(spec)["date"] == "2025-01-10 … 2025-02-01"
    np.testing.assert_array_equal(store.read(spec, ids + more), rows_of(ids + more))


def test_compact_keeps_rows_of_different_provenance_apart(store, spec, make_ids, rows_of):
    ids = make_ids(12)
    for i in range(12):
        write(store, spec, [ids[i]], rows_of, str(i % 3), date=str(i))
    assert len(store.compact()) == 3
    found = {}
    for path in (store.path / spec.key / "shards").iterdir():
        shard = shards.load(path, key=spec.key, storage="float32")
        found |= dict.fromkeys(shards.raw_ids(shard.ids), shard.metadata["run"])
    assert found == {one: str(i % 3) for i, one in enumerate(ids)}


def test_compact_keeps_to_the_target_size(store, spec, make_ids, rows_of, monkeypatch):
    ids = make_ids(64)
    sizes = [write(store, spec, ids[i : i + 4], rows_of).stat().st_size for i in range(0, 64, 4)]
    monkeypatch.setattr(upkeep, "TARGET_BYTES", 4 * max(sizes))
    assert len(store.compact()) == 4
    assert len(names(store, spec)) == 4
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))
    monkeypatch.setattr(upkeep, "TARGET_BYTES", 2 * min(sizes))
    assert store.compact() == []


def test_compact_leaves_damage_behind(store, spec, make_ids, rows_of, flip):
    ids = make_ids(8)
    first = write(store, spec, ids[:4], rows_of)
    second = write(store, spec, ids[4:], rows_of)
    lost = write(store, spec, make_ids(1, 99), rows_of, "2")
    cut = write(store, spec, make_ids(2, 70), rows_of, "3")
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


def test_compact_of_a_shard_that_holds_the_others(store, spec, make_ids, rows_of, flip):
    ids = make_ids(5)
    whole = write(store, spec, ids, rows_of)
    part = write(store, spec, [*make_ids(1, 9), *ids[:2]], rows_of)
    at = part.read_bytes().index(make_ids(1, 9)[0])
    flip(part, at)  # Its id is damaged, so gc must keep it.
    assert store.gc() == []
    (done,) = store.compact()
    assert (done.merged, done.sources) == (whole, (part,))
    assert names(store, spec) == {whole.name}
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))


def test_a_failing_disk_is_no_licence_to_remove(store, spec, make_ids, rows_of, monkeypatch):
    ids = make_ids(6)
    paths = [write(store, spec, part, rows_of) for part in (ids, ids[:3], ids[3:])]
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
def test_no_good_row_is_ever_lost(store, spec, make_ids, rows_of, flip, seed):
    """Random shards, damage, gc and compact: every row with a good copy keeps one."""
    rng = random.Random(seed)
    ids = make_ids(12)
    good = set()
    for run in range(rng.randrange(2, 9)):
        part = rng.sample(ids, rng.randrange(1, 9))
        path = write(store, spec, part, rows_of, rng.choice("ab"), date=str(run))
        bad = {i for i in range(len(part)) if rng.random() < 0.3}
        for i in bad:
            flip(path, -16 * (len(part) - i))
        good |= {one for i, one in enumerate(part) if i not in bad}
    kept = sorted(good)
    for step in rng.choices(["gc", "compact"], k=3):
        fresh = FeatureStore(store.path)
        getattr(fresh, step)()
        for reader in (fresh, FeatureStore(store.path)):
            np.testing.assert_array_equal(reader.read(spec, kept), rows_of(kept).reshape(-1, 4))
    FeatureStore(store.path).compact()
    fresh = FeatureStore(store.path)
    assert fresh.verify() == []
    assert set(ids) - set(fresh.missing(spec, ids)) == good
