import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.linear_model import Ridge

from transferkit.benchmark.transferability import h_score, logme, ridge_leave_one_out


def rows(shift, n=60, d=5):
    random = np.random.default_rng(0)
    y = np.arange(n) % 3
    return random.normal(size=(n, d)) + shift * np.eye(3, d)[y], y


@pytest.mark.parametrize("score", [logme, h_score, ridge_leave_one_out])
def test_better_features_score_higher(score):
    # Features of different sizes: of equal ones, shrinking the covariance leaves nothing.
    values = [
        score(X * np.linspace(0.5, 2, 5), y) for X, y in (rows(s, n=300) for s in (0, 1, 2, 4))
    ]
    assert values == sorted(values)
    assert values[0] < values[-1]


@pytest.mark.parametrize("d", [5, 40])
def test_logme_is_the_largest_evidence(d):
    X, y = rows(1, n=30, d=d)

    def evidence(t, a, b):
        covariance = X @ X.T / np.exp(a) + np.eye(len(X)) / np.exp(b)
        return multivariate_normal(np.zeros(len(X)), covariance).logpdf(t)

    best = [
        max(evidence(y == c, a, b) for a in np.linspace(-2, 8, 41) for b in np.linspace(0, 4, 41))
        for c in range(3)
    ]
    assert logme(X, y) * len(X) == pytest.approx(np.mean(best), abs=0.05)


def test_ridge_leave_one_out_leaves_one_out():
    X, y = rows(0.7, n=24)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    T = 2.0 * (y[:, None] == np.arange(3)) - 1
    shares = []
    for alpha in np.logspace(-2, 5, 15):
        right = 0
        for i in range(len(X)):
            rest = np.arange(len(X)) != i
            model = Ridge(alpha=alpha).fit(X[rest], T[rest])
            right += model.predict(X[i : i + 1]).argmax() == y[i]
        shares.append(right / len(X))
    assert ridge_leave_one_out(X, y) == pytest.approx(max(shares), abs=1.01 / len(X))


def test_h_score_of_classes_that_are_points():
    y = np.arange(30) % 3
    assert h_score(np.eye(3)[y], y, shrinkage=1e-9) == pytest.approx(2, abs=1e-3)
