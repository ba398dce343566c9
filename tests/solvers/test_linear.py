"""The solver of linear models against scikit-learn's, at tight tolerances, on random problems."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from tests.solvers.problems import TIGHT, agree, problem, reference
from transferkit.solvers import objective
from transferkit.solvers.linear import LinearProblems


@pytest.mark.parametrize("n_classes", [2, 3, 10, 50])
@pytest.mark.parametrize("C", [1e-3, 1.0, 100.0])
def test_coefficients_are_scikit_learns(n_classes, C):
    X, y = problem(n=400, n_classes=n_classes)
    found = LinearProblems.logistic([(X, None)], y, standardize=False).solve(C, **TIGHT)
    expected = reference(X, y, C)
    assert found.converged.all()
    assert found.coef.shape == expected.coef_.shape
    agree(found.coef, expected.coef_)
    agree(found.intercept, expected.intercept_)


def test_two_hundred_classes():
    X, y = problem(n=600, d=20, n_classes=200)
    found = LinearProblems.logistic([(X, None)], y, standardize=False).solve(0.1, **TIGHT)
    agree(found.coef, reference(X, y, 0.1).coef_)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("C", [0.01, 10.0])
@pytest.mark.parametrize("seed", range(3))
def test_with_weights(n_classes, C, seed):
    X, y = problem(n_classes=n_classes, seed=seed)
    weight = np.random.default_rng(seed).exponential(size=len(y)) ** 2
    found = LinearProblems.logistic([(X, None)], y, weight, standardize=False).solve(C, **TIGHT)
    expected = reference(X, y, C, weight)
    agree(found.coef, expected.coef_)
    agree(found.intercept, expected.intercept_)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("C", [1.0, 1e3])
def test_separable_rows(n_classes, C):
    X, y = problem(n=60, d=80, n_classes=n_classes, noise=0)
    found = LinearProblems.logistic([(X, None)], y, standardize=False).solve(C, **TIGHT)
    expected = reference(X, y, C)
    assert found.converged.all()
    agree(found.coef, expected.coef_, 1e-3 if C > 1 else 1e-4)


@pytest.mark.parametrize("n", [50, 200])
def test_dependent_and_constant_features(n):
    X, y = problem(n=n)
    X = np.column_stack([X, X[:, :4] + X[:, 4:8], X[:, 0], np.full(n, 7.0), np.zeros(n)])
    found = LinearProblems.logistic([(X, None)], y, standardize=False).solve(1.0, **TIGHT)
    expected = reference(X, y, 1.0)
    agree(found.coef, expected.coef_)
    assert (found.coef[:, -2:] == 0).all()


def test_badly_scaled_features():
    X, y = problem()
    X *= 10 ** np.linspace(-3, 3, X.shape[1])
    X += 100
    found = LinearProblems.logistic([(X, None)], y, standardize=False).solve(1.0, **TIGHT)
    # scikit-learn needs centred rows to arrive here at all; a free intercept allows that.
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000, solver="newton-cholesky")
    agree(found.coef, model.fit(X - X.mean(axis=0), y).coef_)


@pytest.mark.parametrize("shape", [(5, 3), (5, 40)])
def test_one_sample_per_class(shape):
    X = np.random.default_rng(0).normal(size=shape)
    found = LinearProblems.logistic([(X, None)], np.arange(5), standardize=False).solve(
        1.0, **TIGHT
    )
    expected = reference(X, np.arange(5), 1.0)
    agree(found.coef, expected.coef_)
    agree(found.intercept, expected.intercept_)


def test_float32_with_a_tight_tolerance_goes_on_in_float64():
    X, y = problem(n=60_000, d=12, n_classes=3)
    X = X.astype(np.float32)
    found = LinearProblems.logistic([(X, None)], y, standardize=False).solve(1.0, **TIGHT)
    assert found.converged.all()
    agree(found.coef, reference(X.astype(float), y, 1.0).coef_)


def test_the_gap_is_about_the_distance_from_the_optimum():
    X, y = problem(n=1000, d=30, n_classes=5)
    problems = LinearProblems.logistic([(X, None)], y)
    best = problems.solve(1.0, **TIGHT).objective
    for tol in (1e-2, 1e-3, 1e-4):
        fit = problems.solve(1.0, tol=tol, max_iter=100)
        assert fit.objective / best - 1 <= 2 * tol


def test_rough_products_lead_to_the_same_place(monkeypatch):
    X, y = problem(n=40_000, d=16, n_classes=4)
    X = X.astype(np.float32)
    found = []
    for dtype in (None, torch.bfloat16):
        monkeypatch.setattr(objective, "LARGE", 0)
        monkeypatch.setattr(objective, "quick_dtype", lambda device, dtype=dtype: dtype)
        problems = LinearProblems.logistic([(X, None)], y)
        found.append(problems.solve(1.0, tol=1e-6, max_iter=100))
        path = problems.path(np.geomspace(0.1, 10, 7), [(X[:1], None)], tol=1e-5, max_iter=100)
        *_, (_, middle, _), _, _, _ = path
        assert middle.objective == pytest.approx(found[-1].objective, rel=2e-5)
    assert found[1].converged.all()
    assert found[1].objective == pytest.approx(found[0].objective, rel=1e-6)
    agree(found[1].coef, found[0].coef, 1e-3)


@pytest.mark.parametrize("C", [1e-3, 1.0])
@pytest.mark.parametrize("n_classes", [2, 6])
def test_the_linear_machine_is_liblinears(C, n_classes):
    X, y = problem(n_classes=n_classes)
    hot = 2.0 * (y[:, None] == np.arange(n_classes)) - 1
    hot = hot[:, 1:] if n_classes == 2 else hot
    found = LinearProblems.margins(X, hot).solve(C, **TIGHT)
    # A large scale all but frees the intercept, which liblinear penalises.
    plain = LinearSVC(C=C, tol=1e-8, max_iter=1_000_000, intercept_scaling=100).fit(X, y)
    agree(found.coef, plain.coef_, 1e-3)
