"""Paths of linear models against single fits."""

import numpy as np
import pytest

from tests.solvers.problems import problem
from transferkit.solvers import path as path_module
from transferkit.solvers.linear import LinearProblems


@pytest.mark.parametrize(("n_classes", "n_Cs"), [(2, 12), (4, 12), (4, 5), (7, 13), (30, 12)])
def test_a_path_arrives_where_single_fits_do(n_classes, n_Cs):
    X, y = problem(n_classes=n_classes)
    Cs = np.geomspace(1e-4, 1e3, n_Cs)
    problems = LinearProblems.logistic([(X, None)], y)
    for C, fit, scores in problems.path(Cs, [(X, np.arange(7))], tol=1e-5, max_iter=100):
        alone = problems.solve(C, tol=1e-9, max_iter=100)
        assert fit.converged.all()
        assert fit.objective == pytest.approx(alone.objective, rel=1e-5)
        assert (fit.objective >= alone.objective * (1 - 1e-12)).all()
        np.testing.assert_allclose(scores, X[:7] @ fit.coef.T + fit.intercept, atol=1e-8)


def _counted(monkeypatch):
    """Products with the Hessian of each solve."""
    products = []
    minimise = path_module.minimise

    def counted(*arguments, **options):
        found = minimise(*arguments, **options)
        products.append(found.n_products)
        return found

    monkeypatch.setattr(path_module, "minimise", counted)
    return products


def test_who_stops_on_a_path_pays_for_nothing_more(monkeypatch):
    products = _counted(monkeypatch)
    X, y = problem(n_classes=3)
    problems = LinearProblems.logistic([(X, None)], y)
    path = problems.path(np.geomspace(1e-4, 1e3, 30), [(X, None)], tol=1e-3, max_iter=100)
    for n_taken, _ in enumerate(path, 1):
        assert len(products) == n_taken
    assert len(products) == 30


def test_the_solutions_before_spare_products(monkeypatch):
    products = _counted(monkeypatch)
    X, y = problem(n=2000, d=50, n_classes=5)
    problems = LinearProblems.logistic([(X, None)], y)
    Cs = np.geomspace(1e-4, 1e2, 20)
    row = [(X[:1], None)]
    list(problems.path(Cs, row, tol=1e-5, max_iter=100))
    along = sum(products)
    products.clear()
    for C in Cs:
        list(problems.path(np.array([C]), row, tol=1e-5, max_iter=100))
    assert along < 0.6 * sum(products)


def test_equal_strengths_on_a_path():
    X, y = problem(n_classes=3)
    problems = LinearProblems.logistic([(X, None)], y)
    path = list(problems.path(np.ones(4), [(X[:1], None)], tol=1e-6, max_iter=100))
    for _, fit, _ in path:
        assert fit.converged.all()
        assert fit.objective == pytest.approx(path[0][1].objective, rel=1e-6)
