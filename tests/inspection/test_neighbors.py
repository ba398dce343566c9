"""Nearest rows against plain loops, and against all distances at once."""

import numpy as np
import pytest

from tests.inspection.plain_search import by_hand
from transferkit.inspection import neighbors
from transferkit.inspection.neighbors import Neighbourhoods, nearest_others, nearest_rows


def brute(queries, rows, k):
    distance = np.linalg.norm(queries[:, None].astype(float) - rows[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distance, order, axis=1)


@pytest.mark.parametrize("tile", [7, 16, 1000])
@pytest.mark.parametrize("is_other", [False, True])
def test_tiles_give_what_all_distances_give(monkeypatch, tile, is_other):
    monkeypatch.setattr(neighbors, "_BLOCK", tile * 6)
    monkeypatch.setattr(neighbors, "_QUERIES", 5)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 6)).astype(np.float32)
    queries = rng.normal(size=(40, 6)).astype(np.float32) if is_other else rows
    index, distance = nearest_others(queries, rows, 4)
    expected_index, expected = brute(queries, rows, 4)
    np.testing.assert_array_equal(index, expected_index)
    np.testing.assert_allclose(distance, expected, atol=1e-5)


def test_no_array_grows_with_the_square_of_rows(monkeypatch):
    """Every block of queries meets a block of rows at a time."""
    monkeypatch.setattr(neighbors, "_BLOCK", 512)
    monkeypatch.setattr(neighbors, "_QUERIES", 8)
    compared = []
    plain = neighbors._closeness

    def closeness(queries, rows, metric):
        compared.append(len(queries) * len(rows))
        return plain(queries, rows, metric)

    monkeypatch.setattr(neighbors, "_closeness", closeness)
    rows = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    nearest_others(rows, rows, 3)
    assert sum(compared) == 300 * 300
    assert max(compared) <= 512


def test_of_few_rows_all_others():
    rows = np.array([[0.0], [3.0], [1.0]], dtype=np.float32)
    index, distance = nearest_others(rows, rows, 10)
    assert index.tolist() == [[2, 1], [2, 0], [0, 1]]
    np.testing.assert_allclose(distance, [[1, 3], [2, 3], [1, 2]], atol=1e-6)


def test_own_row_is_left_out_among_equal_ones():
    rows = np.zeros((6, 2), dtype=np.float32)
    index, distance = nearest_others(rows, rows, 3)
    assert all(i not in line for i, line in enumerate(index.tolist()))
    assert not distance.any()


def test_neighbourhoods_are_of_rows_of_length_1():
    rows = np.random.default_rng(0).normal(size=(20, 3))
    rows[4] = 0
    near = Neighbourhoods.of(rows)
    np.testing.assert_allclose(np.delete(np.linalg.norm(near.rows, axis=1), 4), 1, rtol=1e-6)
    assert not near.rows[4].any()
    np.testing.assert_allclose(near.distance, brute(near.rows, near.rows, 10)[1], atol=1e-6)
    assert Neighbourhoods.of(rows[:1]).index.shape == (1, 0)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("k", "block"), [(1, 2**24), (5, 70), (60, 70), (200, 1)])
def test_nearest_rows_are_those_of_a_plain_loop(monkeypatch, metric, k, block):
    monkeypatch.setattr(neighbors, "_BLOCK", block)
    monkeypatch.setattr(neighbors, "_QUERIES", 2)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 7)).astype(np.float32)
    rows[11] = 0
    queries = np.concatenate([rng.normal(size=(4, 7)), rows[[3]]]).astype(np.float32)
    positions, scores = nearest_rows(queries, [rows[:, :3], rows[:, 3:]], k, metric=metric)
    for query, at, values in zip(queries, positions, scores, strict=True):
        expected, numbers = by_hand(query, rows, k, metric)
        assert at.tolist() == expected
        assert values == pytest.approx(numbers, abs=1e-6)
    assert scores[-1][0] == pytest.approx(1 if metric == "cosine" else 0, abs=1e-12)


def test_rows_that_are_left_out_make_room_for_others(monkeypatch):
    monkeypatch.setattr(neighbors, "_BLOCK", 12)
    rows = np.eye(6, dtype=np.float32) + 0.1
    queries = rows[[2, 4]]
    omitted = [np.array([2, 0]), np.array([], dtype=int)]
    positions, _ = nearest_rows(queries, [rows], 6, left_out=omitted)
    assert sorted(positions[0].tolist()) == [1, 3, 4, 5]
    assert sorted(positions[1].tolist()) == list(range(6))
    assert positions[1][0] == 4


def test_equally_near_rows_come_in_their_order():
    rows = np.repeat(np.eye(3, dtype=np.float32), 2, axis=0)
    positions, scores = nearest_rows(rows[[2]], [rows], 6)
    assert positions[0].tolist() == [2, 3, 0, 1, 4, 5]
    assert scores[0].tolist() == [1, 1, 0, 0, 0, 0]
