"""gc: only what stands elsewhere goes, whatever is damaged."""

import os
import time

import numpy as np
import pytest

from transferkit.store import FeatureStore


def test_gc_removes_what_stands_elsewhere(store, spec, make_ids, rows_of, names, write):
    ids = make_ids(10)
    whole = write(spec, ids)
    parts = [write(spec, ids[i : i + 5]) for i in (0, 5)]
    other = write(spec, [*ids[:2], *make_ids(1, 50)])
    would = store.gc(dry_run=True)
    assert {r.path for r in would} == set(parts)
    assert names(spec) == {p.name for p in (whole, *parts, other)}
    assert store.gc() == would
    assert names(spec) == {whole.name, other.name}
    assert store.gc() == []
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))


def test_gc_never_removes_both_of_two_twins(store, spec, make_ids, rows_of, names, write):
    ids = make_ids(4)
    paths = {write(spec, ids, str(run)) for run in range(5)}
    assert len(store.gc()) == 4
    assert len(names(spec) & {p.name for p in paths}) == 1
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))


def test_gc_and_damage(store, spec, make_ids, rows_of, flip, names, write):
    ids = make_ids(4)
    damaged = write(spec, ids, "0")
    flip(damaged, -1)
    fresh = FeatureStore(store.path)
    assert fresh.gc() == []  # The damaged row stands nowhere else.
    repaired = write(spec, ids[3:], "1")
    assert fresh.gc() == []  # Each has what the other lacks.
    again = write(spec, ids, "2")
    assert {r.path for r in fresh.gc()} == {damaged, repaired}
    assert names(spec) == {again.name}
    np.testing.assert_array_equal(fresh.read(spec, ids), rows_of(ids))


def test_gc_removes_a_shard_of_damaged_rows_that_stand_elsewhere(
    store, spec, make_ids, damage, names, write
):
    ids = make_ids(4)
    damaged = write(spec, ids)
    for row in range(4):
        damage(damaged, row)
    parts = [write(spec, ids[i : i + 2]) for i in (0, 2)]
    assert [r.path for r in store.gc()] == [damaged]
    assert names(spec) == {p.name for p in parts}


@pytest.mark.parametrize("place", ["local"])
def test_gc_of_temporary_files(store, spec, make_ids, write):
    shard = write(spec, make_ids(1))
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


def test_gc_of_named_keys(store, spec, other_spec, make_ids, rows_of, write):
    ids = make_ids(3)
    for one in (spec, other_spec):
        write(one, ids)
    with pytest.raises(ValueError, match="unknown key"):
        store.gc([spec.key, "nothing"])
    assert len(store.gc([spec.key[:9]], dry_run=True)) == 1
    assert store.missing(spec, ids) == []
    (removed,) = store.gc([spec.key[:9]])
    assert (removed.key, removed.path) == (spec.key, store.path / spec.key)
    assert removed.n_bytes > 0
    assert not removed.path.exists()
    assert store.missing(spec, ids) == ids
    np.testing.assert_array_equal(store.read(other_spec, ids), rows_of(ids))
