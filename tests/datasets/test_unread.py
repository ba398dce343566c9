import numpy as np
import pytest
import scipy.sparse

from transferkit.datasets import (
    Dataset,
    RowsSideBySide,
    UnreadRows,
    by_blocks,
    chosen_rows,
    is_unread,
    joined_rows,
    row_blocks,
)

A = np.arange(21.0).reshape(7, 3)
B = -np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def rows():
    """Rows 6, 0, 2 of A, and all of B."""
    return UnreadRows([(A, np.array([6, 0, 2])), (B, None)])


WHOLE = np.concatenate([A[[6, 0, 2]], B])


def test_rows_are_indexed_as_an_array_is(rows):
    assert (rows.shape, rows.ndim, rows.dtype) == (WHOLE.shape, 2, WHOLE.dtype)
    assert rows.nbytes == WHOLE.nbytes
    keys = [0, -1, slice(None), slice(1, 6, 2), slice(None, None, -1), slice(5, 5), [4, 0, 4]]
    keys += [np.arange(7) % 2 == 0, ([3, 2], ...), np.empty(0, int)]
    for key in keys:
        np.testing.assert_array_equal(rows[key], WHOLE[key])
    np.testing.assert_array_equal(np.asarray(rows, np.float32), WHOLE.astype(np.float32))
    with pytest.raises(IndexError, match="one index along them"):
        rows[np.eye(2, dtype=int)]


@pytest.mark.parametrize("at", [[5, 0, 3, 3], np.arange(7) > 4, np.empty(0, int), slice(2, 6)])
def test_they_are_selected_without_being_read(rows, at):
    chosen = chosen_rows(rows, at)
    assert is_unread(chosen)
    np.testing.assert_array_equal(np.asarray(chosen), WHOLE[at])


def test_rows_of_a_type_that_is_asked_for(rows):
    half = UnreadRows([(rows, None)], np.float16)
    assert half[:2].dtype == half.select([1]).dtype == half[1].dtype == np.float16


def test_sources_of_other_widths_are_refused():
    with pytest.raises(ValueError, match=r"rows of the shapes \[\(2,\), \(3,\)\] can't follow"):
        UnreadRows([(A, None), (np.eye(2), None)])


def test_columns_of_several_sources(rows):
    both = RowsSideBySide([rows, WHOLE[:, :2]])
    expected = np.concatenate([WHOLE, WHOLE[:, :2]], axis=1)
    assert (both.shape, len(both), both.nbytes) == ((7, 5), 7, expected.nbytes)
    for key in (3, slice(1, 4), [5, 2]):
        np.testing.assert_array_equal(both[key], expected[key])
    assert is_unread(both)
    np.testing.assert_array_equal(np.asarray(chosen_rows(both, np.array([4, 1]))), expected[[4, 1]])


def test_what_is_not_unread():
    for X in (A, A.tolist(), scipy.sparse.csr_matrix(A), scipy.sparse.csr_array(A), None, "X"):
        assert not is_unread(X)


@pytest.mark.parametrize("size", [1, 70, 10**6])
def test_blocks_are_all_rows_in_order(size):
    X = np.random.default_rng(0).normal(size=(50, 3))
    for given in (X, UnreadRows([(X, None)])):
        parts, blocks = zip(*row_blocks(given, size), strict=True)
        assert [X[part].tolist() for part in parts] == [block.tolist() for block in blocks]
        np.testing.assert_array_equal(np.concatenate(blocks), X)
        assert max(map(len, blocks)) == min(50, max(16, size // 3))


def test_a_function_of_rows_sees_blocks(rows, monkeypatch):
    assert by_blocks(len, [[1, 2]]) == 1  # what isn't an array is handed on
    monkeypatch.setattr("transferkit.datasets.unread.PREDICTED", 3)
    seen = []

    def total(block):
        seen.append(len(block))
        return block.sum(axis=1)

    many = UnreadRows([(rows, None)] * 5)
    np.testing.assert_array_equal(by_blocks(total, many), np.tile(WHOLE.sum(axis=1), 5))
    assert seen == [16, 16, 3]


def test_a_data_set_leaves_rows_where_they_are(rows):
    data = Dataset(X=rows, y=np.arange(7), ids=tuple(bytes([i]) for i in range(7)))
    part = data.select([5, 1])
    assert is_unread(part.X)
    np.testing.assert_array_equal(part.X[:], WHOLE[[5, 1]])
    both = part.joined(data.select([0]))
    assert is_unread(both.X)
    np.testing.assert_array_equal(both.X[:], WHOLE[[5, 1, 0]])
    assert both.y.tolist() == [5, 1, 0]
    assert not is_unread(joined_rows(A, A))
