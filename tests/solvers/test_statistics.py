import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from transferkit.heads import FeatureStatistics, create_head
from transferkit.solvers.statistics import BLOCK


def data(n=200, d=6):
    rng = np.random.default_rng(0)
    X = 3 * rng.normal(size=(n, d)) + np.arange(d)
    X[:, 2] = 0.1
    return X, np.where(X[:, 0] + rng.normal(size=n) > 0, "cat", "dog"), rng.uniform(1, 2, size=n)


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("standardize", [False, True])
def test_they_are_numpys(is_weighted, standardize):
    X, _, weight = data(n=BLOCK + 7)
    found = FeatureStatistics(X, weight if is_weighted else None)
    scaler = StandardScaler().fit(X, sample_weight=weight if is_weighted else None)
    np.testing.assert_allclose(found.mean, scaler.mean_)
    np.testing.assert_allclose(found.scale, scaler.scale_)
    assert found.is_constant.tolist() == [False, False, True, False, False, False]
    expected = np.cov(X, rowvar=False, aweights=weight if is_weighted else None, ddof=0)
    total = weight.sum() if is_weighted else len(X)
    np.testing.assert_allclose(found.gram / total, expected, atol=1e-9)
    values, vectors = found.spectrum(standardize=standardize)
    scale = scaler.scale_ if standardize else np.ones(6)
    np.testing.assert_allclose(
        vectors * values @ vectors.T, expected / scale / scale[:, None], atol=1e-9
    )


HEADS = {
    "ridge": {},
    "linear": {"tol": 1e-8},
    "svm": {"n_exact": 0, "n_whole": 0},
    "svm, linear": {"kernel": "linear", "tol": 1e-8},
}


def fitted(name, X, y, **options):
    return create_head(name.partition(",")[0], **HEADS[name]).fit(X, y, **options)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_learns_the_same_with_them(name):
    X, y, weight = data()
    statistics = FeatureStatistics(X)
    for options in ({}, {"sample_weight": weight}):
        alone = fitted(name, X, y, **options)
        given = fitted(name, X, y, statistics=statistics, **options)
        np.testing.assert_allclose(
            given.decision_function(X), alone.decision_function(X), atol=1e-4
        )


def test_heads_compute_them_once(monkeypatch):
    X, y, _ = data()
    counts = {"gram": 0, "eigh": 0}
    gram, eigh = FeatureStatistics._gram, np.linalg.eigh

    def counted_gram(self):
        counts["gram"] += 1
        return gram(self)

    def counted_eigh(matrix):
        counts["eigh"] += 1
        return eigh(matrix)

    monkeypatch.setattr(FeatureStatistics, "_gram", counted_gram)
    monkeypatch.setattr(np.linalg, "eigh", counted_eigh)
    statistics = FeatureStatistics(X)
    for name in HEADS:
        fitted(name, X, y, statistics=statistics)
    assert counts == {"gram": 1, "eigh": 1}


@pytest.mark.parametrize("name", HEADS)
def test_those_of_other_rows_are_refused(name):
    X, y, _ = data()
    with pytest.raises(ValueError, match=r"statistics are of an array of shape \(199, 6\)"):
        fitted(name, X, y, statistics=FeatureStatistics(X[1:]))
    with pytest.raises(ValueError, match="other rows of the same shape"):
        fitted(name, X, y, statistics=FeatureStatistics(X[::-1]))


def test_rows_of_validation_come_last():
    X, y, _ = data()
    validation = (X[150:], y[150:])
    statistics = FeatureStatistics(X)
    for name in HEADS:
        if name != "ridge":
            fitted(name, X[:150], y[:150], validation=validation, statistics=statistics)
