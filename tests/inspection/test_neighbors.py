"""Nearest other rows against all distances at once."""

import numpy as np
import pytest
import torch

from transferkit.inspection import neighbors
from transferkit.inspection.neighbors import nearest_others, unit_rows


def brute(queries, rows, k):
    distance = np.linalg.norm(queries[:, None].astype(float) - rows[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distance, order, axis=1)


@pytest.mark.parametrize("tile", [7, 16, 1000])
@pytest.mark.parametrize("is_other", [False, True])
def test_tiles_give_what_all_distances_give(monkeypatch, tile, is_other):
    monkeypatch.setattr(neighbors, "_ROWS", tile)
    monkeypatch.setattr("transferkit.solvers.neighbors.BLOCK", 5 * tile)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 6)).astype(np.float32)
    queries = rng.normal(size=(40, 6)).astype(np.float32) if is_other else rows
    index, distance = nearest_others(queries, rows, 4)
    expected_index, expected = brute(queries, rows, 4)
    np.testing.assert_array_equal(index, expected_index)
    np.testing.assert_allclose(distance, expected, atol=1e-5)


def test_no_array_grows_with_the_square_of_rows(monkeypatch):
    """Every search is of a block of queries in a tile of rows."""
    monkeypatch.setattr(neighbors, "_ROWS", 64)
    monkeypatch.setattr("transferkit.solvers.neighbors.BLOCK", 64 * 8)
    searched, addmm = [], torch.addmm

    def counted(half, queries, columns, **options):
        searched.append(len(queries) * columns.shape[1])
        return addmm(half, queries, columns, **options)

    monkeypatch.setattr(torch, "addmm", counted)
    rows = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    nearest_others(rows, rows, 3)
    # Four tiles of 64 rows with 8 queries at a time, and one of 44 rows with 11.
    assert len(searched) == 4 * 38 + 28
    assert max(searched) == 64 * 8


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


def test_unit_rows():
    rows = unit_rows(np.random.default_rng(0).normal(size=(5, 3)))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
