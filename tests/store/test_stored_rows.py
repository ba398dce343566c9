"""`StoredRows`: an array's first axis, over rows that are read when they are asked for."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from transferkit.store import CorruptRows, FeatureStore, MissingRows, StoredRows, rows, shards

SHAPES = [(1,), (4,), (3, 2, 5)]


@pytest.fixture
def fill(store, spec, rows_of):
    """Write ids in shards of seven rows; return their rows."""

    def fill(ids, shape=(4,)):
        for begin in range(0, len(ids), 7):
            part = ids[begin : begin + 7]
            store.write(spec, part, rows_of(part, shape))
        return rows_of(ids, shape)

    return fill


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_indexed_as_an_array_is(store, spec, make_ids, fill, map_shape, shape):
    ids = make_ids(30)
    asked = [ids[i] for i in np.random.default_rng(0).permutation(30)] + ids[:5]
    fill(ids, shape)
    stored, array = store.open(spec, asked), store.read(spec, asked)
    assert stored.shape == array.shape
    assert (stored.ndim, stored.dtype, stored.nbytes) == (array.ndim, array.dtype, array.nbytes)
    assert len(stored) == 35
    is_even = np.arange(35) % 2 == 0
    keys = [0, -1, np.int64(7), slice(None), slice(3, 20, 4), slice(None, None, -1), slice(9, 9)]
    keys += [[5, 1, 5, -2], np.array([34, 0]), is_even, ([3, 2], ...), (4, ...), ...]
    for key in keys:
        found = stored[key]
        np.testing.assert_array_equal(found, array[key])
        assert found.shape == array[key].shape
        assert found.dtype == array.dtype
        assert found.flags.owndata or found.base.flags.owndata
    assert stored[np.empty(0, int)].shape == (0, *map_shape(*shape))


@pytest.mark.parametrize("key", [35, -36, [0, 35], (0, 0), None, 1.5, "a", np.eye(2, dtype=int)])
def test_what_is_no_index_along_the_rows_is_refused(store, spec, make_ids, fill, key):
    fill(make_ids(35))
    with pytest.raises(IndexError):
        store.open(spec, make_ids(35))[key]


def test_it_is_an_array_to_numpy_and_scikit_learn(store, spec, make_ids, fill):
    ids = make_ids(30)
    array = fill(ids)
    stored = store.open(spec, ids)
    np.testing.assert_array_equal(np.asarray(stored), array)
    doubled = np.asarray(stored, dtype=np.float64)
    assert doubled.dtype == np.float64
    np.testing.assert_array_equal(doubled, array)
    with pytest.raises(ValueError, match="without being copied"):
        np.asarray(stored, copy=False)
    if array.ndim > 2:  # maps are no rows to scikit-learn
        return
    y = np.arange(30) % 3
    head, folds = KNeighborsClassifier(1), KFold(3)
    np.testing.assert_array_equal(
        cross_val_score(head, stored, y, cv=folds), cross_val_score(head, array, y, cv=folds)
    )


def test_batches_are_the_rows_in_order(store, spec, make_ids, fill, monkeypatch):
    ids = make_ids(20)
    array = fill(ids)
    stored = store.open(spec, ids)
    assert [len(batch) for batch in stored.batches(8)] == [8, 8, 4]
    np.testing.assert_array_equal(np.concatenate(list(stored.batches(8))), array)
    assert len(list(stored.batches())) == 1
    monkeypatch.setattr(rows, "_BATCH_BYTES", 3 * array[0].nbytes)
    assert [len(batch) for batch in stored.batches()] == [3] * 6 + [2]
    np.testing.assert_array_equal(list(stored), array)


def test_a_selection_stays_in_the_store(store, spec, make_ids, fill):
    ids = make_ids(20)
    array = fill(ids)
    for chosen in (np.array([3, 1, 3]), np.arange(20) > 12, np.empty(0, int)):
        part = store.open(spec, ids).select(chosen)
        assert isinstance(part, StoredRows)
        assert part.shape == array[chosen].shape
        np.testing.assert_array_equal(np.asarray(part), array[chosen])


def test_nothing_of_nothing(store, spec):
    assert store.open(spec, []).shape == (0, 0)
    assert np.asarray(store.open(spec, [])).shape == (0, 0)
    assert list(store.open(spec, []).batches()) == []


def test_only_what_is_asked_for_is_read(store, spec, make_ids, fill, monkeypatch):
    ids = make_ids(21)
    fill(ids)
    asked = []
    plain = shards.gather
    monkeypatch.setattr(
        shards,
        "gather",
        lambda shard, rows, *more: asked.append(len(rows)) or plain(shard, rows, *more),
    )
    stored = store.open(spec, ids)
    assert asked == []
    stored[3], stored[[1, 2]]
    assert sum(asked) == 3


def test_rows_that_are_not_there_are_named_when_it_is_opened(store, spec, make_ids, fill):
    ids = make_ids(5)
    fill(ids[:3])
    with pytest.raises(MissingRows, match="2 of the rows") as error:
        store.open(spec, ids)
    assert error.value.ids == tuple(ids[3:])


def test_a_damaged_row_is_named_and_the_others_are_read(
    store, spec, make_ids, rows_of, flip, caplog
):
    ids = make_ids(8)
    path = store.write(spec, ids, rows_of(ids))
    stored = store.open(spec, ids)
    flip(path, -1)
    for _ in range(2):
        with pytest.raises(CorruptRows, match=path.name) as error:
            stored[7]
        assert error.value.ids == (ids[7],)
        with pytest.raises(CorruptRows):
            np.asarray(stored)
        np.testing.assert_array_equal(stored[:7], rows_of(ids[:7]))
    assert path.name in caplog.text
    # Computed again, by anybody, it is there without opening it anew.
    FeatureStore(store.path).write(spec, ids[7:], rows_of(ids[7:]), provenance={"run": "2"})
    np.testing.assert_array_equal(stored[7], rows_of(ids[7:])[0])


def test_a_good_copy_is_taken_for_a_damaged_one(store, spec, make_ids, rows_of, damage):
    ids = make_ids(4)
    paths = [store.write(spec, ids, rows_of(ids), provenance={"run": str(run)}) for run in range(2)]
    stored = store.open(spec, ids)
    damage(paths[0], 0)
    damage(paths[1], 3)
    for i in range(4):
        np.testing.assert_array_equal(stored[i], rows_of(ids)[i])


def test_shards_that_are_compacted_meanwhile(store, spec, make_ids, fill):
    ids = make_ids(20)
    array = fill(ids)
    stored = store.open(spec, ids)
    assert FeatureStore(store.path).compact()
    np.testing.assert_array_equal(stored[[19, 0]], array[[19, 0]])


def test_copies_and_threads_read_for_themselves(store, spec, make_ids, fill):
    ids = make_ids(20)
    array = fill(ids)
    stored = store.open(spec, ids)
    twin = pickle.loads(pickle.dumps(stored))
    assert (twin.ids, twin.shape) == (stored.ids, stored.shape)
    np.testing.assert_array_equal(np.asarray(twin), array)
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_array_equal(list(pool.map(stored.__getitem__, range(20))), array)
    dtypes = {"float32": np.float32, "float16": np.float16, "int8": np.float32}
    assert twin.dtype == stored[0].dtype == dtypes[spec.storage]


@pytest.mark.parametrize(
    ("stored_as", "expected"),
    [
        ("float32", "StoredRows(shape=(3, 4), dtype=float32)"),
        ("float16", "StoredRows(shape=(3, 4), dtype=float16)"),
        ("int8", "StoredRows(shape=(3, 4), dtype=float32)"),
        ("int8-maps", "StoredRows(shape=(3, 1, 1, 4), dtype=float32)"),
    ],
)
def test_it_says_what_it_is(store, spec, make_ids, fill, expected):
    fill(make_ids(3))
    assert repr(store.open(spec, make_ids(3))) == expected
