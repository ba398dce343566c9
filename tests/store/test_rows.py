"""Damage: a flipped byte is found, named and recomputed, never used."""

import logging
import os

import numpy as np
import pytest

from transferkit.store import CorruptRows, FeatureStore, MissingRows, shards


def read_or_none(store, spec, one):
    """The row, or None if it is found to be damaged."""
    try:
        return store.read(spec, [one])[0]
    except CorruptRows:
        return None


@pytest.mark.suites
def test_every_flipped_byte_is_safe(store, spec, make_ids, rows_of):
    ids = make_ids(3)
    rows = rows_of(ids, (2,))
    path = store.write(spec, ids, rows, provenance={"batch_size": "64", "date": "2025-01-01"})
    good = path.read_bytes()
    n_found = 0
    for at in range(len(good)):
        for bits in (0x01, 0xFF):
            path.write_bytes(good[:at] + bytes([good[at] ^ bits]) + good[at + 1 :])
            fresh = FeatureStore(store.path)
            missing = fresh.missing(spec, ids)
            for one, row in zip(ids, rows, strict=True):
                if one in missing:
                    with pytest.raises(MissingRows):
                        fresh.read(spec, [one])
                elif (found := read_or_none(fresh, spec, one)) is None:
                    missing.append(one)
                else:
                    np.testing.assert_array_equal(found, row)
            assert sorted(fresh.missing(spec, ids)) == sorted(missing)
            assert fresh.verify(), f"byte {at} of {len(good)} was flipped and not found"
            n_found += bool(missing)
    # What may be changed without loss is the provenance alone.
    assert n_found > 0.9 * 2 * (len(good) - 60)


@pytest.mark.parametrize("row", [7, 6, 4, 0])
def test_damage_is_named_recomputed_and_never_used(
    store, spec, make_ids, rows_of, damage, caplog, row
):
    ids = make_ids(8)
    path = store.write(spec, ids, rows_of(ids, (2,)), provenance={"run": "1"})
    store.read(spec, ids)
    damage(path, row)
    bad = ids[row]
    for reader in (store, FeatureStore(store.path)):
        with caplog.at_level(logging.WARNING), pytest.raises(CorruptRows, match=path.name) as error:
            reader.read(spec, ids)
        assert error.value.ids == (bad,)
        assert path.name in caplog.text
        assert reader.missing(spec, ids) == [bad]
        others = [i for i in ids if i != bad]
        np.testing.assert_array_equal(reader.read(spec, others), rows_of(others, (2,)))
    store.write(spec, [bad], rows_of([bad], (2,)), provenance={"run": "2"})
    for reader in (store, FeatureStore(store.path)):
        assert reader.missing(spec, ids) == []
        np.testing.assert_array_equal(reader.read(spec, ids), rows_of(ids, (2,)))
        assert reader.missing(spec, ids) == []


def test_a_shard_replaced_by_its_own_content_is_good_again(store, spec, make_ids, rows_of, flip):
    # The same rows give the same digest, and so the name of the damaged shard.
    ids = make_ids(3)
    for at in (-1, 20):
        path = store.write(spec, ids, rows_of(ids))
        flip(path, at)
        readers = [FeatureStore(store.path), FeatureStore(store.path)]
        for one in readers:
            with pytest.raises(MissingRows):
                one.read(spec, ids)
        assert readers[0].write(spec, ids, rows_of(ids)) == path
        for one in readers:
            assert one.missing(spec, ids) == []
            np.testing.assert_array_equal(one.read(spec, ids), rows_of(ids))


def test_good_copies_win_whatever_their_names(store, spec, make_ids, rows_of, damage):
    ids = make_ids(20)
    paths = [store.write(spec, ids, rows_of(ids), provenance={"run": str(run)}) for run in range(3)]
    # Every row is damaged in two of three shards.
    for i in range(20):
        for path in paths[: i % 3] + paths[i % 3 + 1 :]:
            damage(path, i)
    for reader in (store, FeatureStore(store.path)):
        np.testing.assert_array_equal(reader.read(spec, ids), rows_of(ids))


def test_a_row_under_another_id_is_damage(store, spec, make_ids, rows_of):
    # A whole row and its id, swapped between rows, match no checksum.
    ids = make_ids(2)
    path = store.write(spec, ids, rows_of(ids))
    content = path.read_bytes().replace(ids[0], b"?" * 16).replace(ids[1], ids[0])
    path.write_bytes(content.replace(b"?" * 16, ids[1]))
    with pytest.raises(CorruptRows) as error:
        FeatureStore(store.path).read(spec, ids)
    assert error.value.ids == tuple(ids)


def test_damaged_and_missing_together(store, spec, make_ids, rows_of, flip):
    ids = make_ids(4)
    flip(store.write(spec, ids[:3], rows_of(ids[:3])), -1)
    with pytest.raises(MissingRows) as error:
        store.read(spec, ids)
    assert error.value.ids == (ids[3],)
    with pytest.raises(CorruptRows):
        store.read(spec, ids[:3])
    with pytest.raises(
        CorruptRows, match=r"1 of the rows asked for .* and 1 aren't there"
    ) as error:
        store.read(spec, ids)
    assert error.value.ids == (ids[2],)
    assert store.missing(spec, ids) == ids[2:]


def test_a_shard_that_shrinks_after_it_was_indexed(store, spec, make_ids, rows_of):
    ids = make_ids(50)
    path = store.write(spec, ids, rows_of(ids))
    store.read(spec, ids)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MissingRows):
        store.read(spec, ids)
    assert store.missing(spec, ids) == ids
    store.write(spec, ids, rows_of(ids))
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))


def test_a_shard_that_goes_between_index_and_read(store, spec, make_ids, rows_of, monkeypatch):
    ids = make_ids(6)
    for part in (ids[:3], ids[3:]):
        store.write(spec, part, rows_of(part))
    plain = shards.gather

    def late(*args):
        monkeypatch.setattr(shards, "gather", plain)
        assert FeatureStore(store.path).compact()
        return plain(*args)

    store.missing(spec, ids)
    monkeypatch.setattr(shards, "gather", late)
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))
    assert shards.gather is plain


@pytest.mark.parametrize("place", ["local"])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_not_opened(store, spec, make_ids, rows_of):
    ids = make_ids(2)
    folder = store.write(spec, ids, rows_of(ids)).parent
    os.mkfifo(folder / "pipe.safetensors")
    (folder / "folder.safetensors").mkdir()
    (folder / "nowhere.safetensors").symlink_to(folder / "gone")
    np.testing.assert_array_equal(FeatureStore(store.path).read(spec, ids), rows_of(ids))


def test_an_unreadable_shard_is_reported_once_per_store(store, spec, make_ids, rows_of, caplog):
    ids = make_ids(2)
    path = store.write(spec, ids, rows_of(ids))
    path.write_bytes(path.read_bytes()[:-1])
    fresh = FeatureStore(store.path)
    for _ in range(3):
        assert fresh.missing(spec, ids) == ids
    assert caplog.text.count(path.name) == 1
