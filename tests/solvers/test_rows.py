import numpy as np
import torch

from tests.solvers.problems import problem
from transferkit.solvers.rows import StandardizedRows


def test_few_rows_are_solved_in_their_own_space():
    X, _ = problem(n=30, d=300)
    rows = StandardizedRows([(X, None)], None, standardize=True)
    assert rows.d == 30
    assert next(rows.blocks(torch.float64))[1].shape == (30, 30)
    coef = np.random.default_rng(0).normal(size=(3, 30)) @ X
    again = rows.to_original(
        *rows.from_original(rows.to_original(*rows.from_original(coef, np.ones(3)))[0], np.ones(3))
    )
    np.testing.assert_allclose(again[0], rows.to_original(*rows.from_original(coef, np.ones(3)))[0])
