"""Least-squares machines against their linear system, solved directly."""

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

from transferkit.solvers.kernel import LeastSquaresSVM, Nystroem, RadialMatrix, radial

GAMMA = 0.2
PENALTIES = [10.0, 0.1]


def data(n=700):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 5))
    Y = np.column_stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2] + 3])
    return X, Y, rng.integers(0, 3, size=n).astype(float)


def direct(X, Y, weight, penalty):
    """Stationary point of the objective in the coefficients of the rows that weigh."""
    used = weight > 0
    K, w = rbf_kernel(X[used], gamma=GAMMA), weight[used]
    n = len(K)
    system = np.block([[K + penalty * np.diag(1 / w), np.ones((n, 1))], [np.ones((1, n)), 0]])
    found = np.linalg.solve(system, np.vstack([Y[used], np.zeros((1, Y.shape[1]))]))
    coef = np.zeros_like(Y)
    coef[used] = found[:n]
    return coef, found[n]


def test_the_kernel_is_scikit_learns():
    X, Y, _ = data()
    rows = torch.from_numpy(X)
    expected = rbf_kernel(X, gamma=GAMMA)
    np.testing.assert_allclose(radial(rows, rows, GAMMA), expected, atol=1e-12)
    product = RadialMatrix(rows, GAMMA).product(torch.from_numpy(Y.T))
    np.testing.assert_allclose(product, Y.T @ expected, atol=1e-9)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_whole_kernel_solves_the_system_at_every_strength(is_weighted):
    X, Y, weight = data()
    if not is_weighted:
        weight = np.ones(len(X))
    machine = LeastSquaresSVM(torch.from_numpy(X), GAMMA, torch.Generator())
    found = machine.solve(
        torch.from_numpy(Y), torch.from_numpy(weight), PENALTIES, tol=1e-20, max_iter=500
    )
    for penalty, solution in zip(PENALTIES, found, strict=True):
        coef, intercept = direct(X, Y, weight, penalty)
        assert solution.is_converged
        np.testing.assert_allclose(solution.coef, coef, atol=1e-7)
        np.testing.assert_allclose(solution.intercept, intercept, atol=1e-7)
        # Rows that don't weigh are scored too.
        scores = rbf_kernel(X, gamma=GAMMA) @ coef + intercept
        np.testing.assert_allclose(solution.fitted, scores, atol=1e-6)


def test_landmarks_for_every_row_are_the_whole_kernel():
    X, Y, weight = data(200)
    rows = torch.from_numpy(X)
    machine = Nystroem(rows, rows, GAMMA)
    found = machine.solve(
        torch.from_numpy(Y), torch.from_numpy(weight), PENALTIES, tol=1, max_iter=1
    )
    for penalty, solution in zip(PENALTIES, found, strict=True):
        coef, intercept = direct(X, Y, weight, penalty)
        scores = rbf_kernel(X, gamma=GAMMA) @ coef + intercept
        np.testing.assert_allclose(solution.fitted, scores, atol=1e-6)
        again = radial(rows, machine.terms, GAMMA) @ solution.coef + solution.intercept
        np.testing.assert_allclose(again, scores, atol=1e-6)


def test_a_solver_out_of_iterations_says_so():
    X, Y, _ = data()
    machine = LeastSquaresSVM(torch.from_numpy(X), GAMMA, torch.Generator())
    weight = torch.ones(len(X), dtype=torch.float64)
    (found,) = machine.solve(torch.from_numpy(Y), weight, [1e-3], tol=1e-20, max_iter=2)
    assert not found.is_converged
    assert found.n_iter == 2


def test_targets_without_variance_need_no_iteration():
    X, _, _ = data(50)
    machine = LeastSquaresSVM(torch.from_numpy(X), GAMMA, torch.Generator())
    Y, weight = torch.full((50, 1), 3.0).double(), torch.ones(50).double()
    (found,) = machine.solve(Y, weight, [1.0], tol=1e-9, max_iter=9)
    assert found.n_iter == 0
    np.testing.assert_allclose(found.fitted, Y)


def test_repeated_landmarks_are_no_obstacle():
    X, Y, _ = data(60)
    rows = torch.from_numpy(np.vstack([X, X])).float()
    targets = torch.from_numpy(np.vstack([Y, Y])).float()
    machine = Nystroem(rows, rows, GAMMA)
    (found,) = machine.solve(targets, torch.ones(120), [0.1], tol=1, max_iter=1)
    coef, intercept = direct(X, Y, np.full(60, 2.0), 0.1)
    expected = rbf_kernel(X, gamma=GAMMA) @ coef + intercept
    np.testing.assert_allclose(found.fitted[:60], expected, atol=5e-3)
