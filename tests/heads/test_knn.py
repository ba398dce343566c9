import logging
import sys

import numpy as np
import pytest
import torch

from transferkit.heads import knn
from transferkit.heads.knn import KNNClassifier, KNNRegressor
from transferkit.solvers import neighbors


def data(n=80, n_classes=4):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 6)), rng.integers(n_classes, size=n), rng.normal(size=(30, 6))


@pytest.mark.parametrize("weights", ["softmax", "distance", "uniform"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("center", [False, True])
def test_equals_brute_force(weights, metric, center):
    X, y, new = data()
    head = KNNClassifier(5, metric=metric, weights=weights, center=center).fit(X, y)
    mean = X.mean(axis=0) if center else 0
    rows, queries = X - mean, new - mean
    if metric == "cosine":
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    for query, proba in zip(queries, head.predict_proba(new), strict=True):
        distance = np.linalg.norm(rows - query, axis=1)
        near = np.argsort(distance)[:5]
        vote = {
            "softmax": np.exp(-(distance[near] ** 2) / 0.14),
            "distance": 1 / distance[near],
            "uniform": np.ones(5),
        }[weights]
        expected = np.bincount(y[near], vote, minlength=4) / vote.sum()
        np.testing.assert_allclose(proba, expected, atol=1e-9)


def test_softmax_of_cosines_as_in_dino():
    X, y, new = data()
    rows, queries = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (X, new))
    vote = np.exp(queries @ rows.T / 0.07) @ np.eye(4)[y]
    proba = KNNClassifier(len(X)).fit(X, y).predict_proba(new)
    np.testing.assert_allclose(proba, vote / vote.sum(axis=1, keepdims=True), rtol=1e-9)


def test_numbers_are_weighted_means():
    X, _, new = data()
    head = KNNRegressor(3, metric="l2", weights="uniform").fit(X, X[:, :2])
    near = np.argsort(np.linalg.norm(X - new[:1], axis=1))[:3]
    np.testing.assert_allclose(head.predict(new)[0], X[near, :2].mean(axis=0))


def test_an_equal_row_decides_alone():
    X, y, _ = data()
    assert (KNNClassifier(5, weights="distance").fit(X, y).predict(X) == y).all()


def test_blocks_change_nothing(monkeypatch):
    X, y, new = data()
    expected = KNNClassifier().fit(X, y).predict_proba(new)
    monkeypatch.setattr(knn, "BLOCK", 3 * len(X))
    np.testing.assert_allclose(KNNClassifier().fit(X, y).predict_proba(new), expected, rtol=1e-9)


def test_no_product_holds_more_numbers_than_asked(monkeypatch):
    X, _, new = data()
    sizes, addmm = [], torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *a, **k: sizes.append(len(a[1])) or addmm(*a, **k))
    monkeypatch.setattr(neighbors, "BLOCK", 7 * len(X))
    neighbors.nearest(new, [(slice(0, len(X)), X)], 2, neighbors.exact)
    assert sizes == [7, 7, 7, 7, 2]


def test_rows_in_several_blocks_are_searched_as_in_one():
    X, _, new = data()
    X[5:40] = X[:35]  # equally near ones: the first comes first
    blocks = [(slice(i, i + 9), X[i : i + 9]) for i in range(0, len(X), 9)]
    index, squared = neighbors.nearest(new, blocks, 12, neighbors.exact)
    distance = ((new[:, None] - X) ** 2).sum(axis=2)
    np.testing.assert_array_equal(index[:, 0], distance.argmin(axis=1))
    np.testing.assert_allclose(squared, np.sort(distance, axis=1)[:, :12], rtol=1e-6)


def test_k_above_the_number_of_samples(caplog):
    X, y, new = data(10)
    with caplog.at_level(logging.INFO, logger="transferkit"):
        head = KNNClassifier(50).fit(X, y)
    assert head.k_ == 10
    assert "there are 10 samples; all of them vote" in caplog.text
    assert np.isfinite(head.predict_proba(np.zeros_like(new))).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"k": 0}, "k is 0; give a whole number above 0"),
        ({"metric": "cosin"}, "unknown metric 'cosin'; did you mean 'cosine'"),
        ({"weights": "inverse"}, "unknown weights 'inverse'; known: softmax, distance, uniform"),
        ({"temperature": -1}, "temperature is -1; give a number above 0"),
    ],
)
def test_bad_parameters(parameters, message):
    X, y, _ = data()
    with pytest.raises(ValueError, match=message):
        KNNClassifier(**parameters).fit(X, y)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_faiss_finds_the_same(metric):
    pytest.importorskip("faiss", reason="faiss is an extra: pip install 'transferkit[faiss]'")
    X, y, new = data()
    exact, quick = (
        KNNClassifier(5, metric=metric, search=search).fit(X, y) for search in ("exact", "faiss")
    )
    np.testing.assert_allclose(quick.predict_proba(new), exact.predict_proba(new), atol=1e-5)
    numbers = [
        KNNRegressor(3, metric=metric, search=s).fit(X, X).predict(new) for s in ("exact", "faiss")
    ]
    np.testing.assert_allclose(*numbers, atol=1e-5)


def test_without_faiss_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    X, y, new = data()
    with pytest.raises(
        ImportError, match=r"pip install 'transferkit\[faiss\]', or give search='exa"
    ):
        KNNClassifier(search="faiss").fit(X, y).predict(new)
    with pytest.raises(ValueError, match="unknown search 'fais'; did you mean 'faiss'"):
        KNNClassifier(search="fais").fit(X, y)
