"""centroid, lda, forest: each against a second, simpler way."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, RandomForestRegressor

from transferkit.heads import centroid, forest, lda


def data(n_classes=3):
    X, y = make_classification(
        120, 12, n_informative=6, n_classes=n_classes, flip_y=0.1, random_state=0
    )
    return X + 1, y


@pytest.mark.parametrize("n_classes", [2, 3])
def test_centroid_is_simple_shot(n_classes):
    X, y = data(n_classes)
    centred = X - X.mean(axis=0)
    units = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    means = np.stack([units[y == c].mean(axis=0) for c in range(n_classes)])
    squared = ((units[:, None] - means) ** 2).sum(axis=2)
    head = centroid.CentroidClassifier(temperature=0.3).fit(X, y)
    np.testing.assert_array_equal(head.predict(X), squared.argmin(axis=1))
    expected = np.exp(-squared / 0.3)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(head.predict_proba(X), expected, rtol=1e-9)


def test_centroid_weights_are_repetitions():
    X, y = data()
    weight = np.arange(len(X)) % 3
    weighted = centroid.CentroidClassifier().fit(X, y, sample_weight=weight)
    repeated = centroid.CentroidClassifier().fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X))


def test_centroid_without_centring_and_bad_temperature():
    X, y = data()
    assert (centroid.CentroidClassifier(center=False).fit(X, y).mean_ == 0).all()
    with pytest.raises(ValueError, match="temperature is 0; give a number above 0"):
        centroid.CentroidClassifier(temperature=0).fit(X, y)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("shrinkage", ["auto", 0.3, None])
def test_lda_is_scikit_learns(n_classes, shrinkage):
    X, y = data(n_classes)
    plain = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(X, y)
    head = lda.LDAClassifier(shrinkage=shrinkage).fit(X, y)
    np.testing.assert_allclose(head.predict_proba(X), plain.predict_proba(X), atol=1e-9)


def test_lda_bad_shrinkage():
    with pytest.raises(ValueError, match=r'shrinkage is 2; give "auto", None or a number'):
        lda.LDAClassifier(shrinkage=2).fit(*data())


def test_forests_are_scikit_learns():
    X, y = data()
    X = X.astype(np.float32)
    plain = ExtraTreesClassifier(10, random_state=0).fit(X, y)
    head = forest.ForestClassifier(10).fit(X, y)
    np.testing.assert_allclose(head.predict_proba(X), plain.predict_proba(X))
    plain = RandomForestRegressor(10, max_features="sqrt", random_state=0).fit(X, y)
    head = forest.ForestRegressor(10, kind="forest").fit(X, y)
    np.testing.assert_allclose(head.predict(X), plain.predict(X))


def test_forest_leaves_grow_with_the_rows(monkeypatch):
    X, y = data()
    monkeypatch.setattr(forest, "ROWS_WITH_SINGLE_LEAVES", 30)
    for parameters, smallest in (({}, 4), ({"min_samples_leaf": 7}, 7)):
        head = forest.ForestClassifier(20, **parameters).fit(X, y)
        leaves = head.trees_._leaves(X.astype(np.float32))
        assert (
            min(np.unique(column, return_counts=True)[1].min() for column in leaves.T) == smallest
        )


def test_forest_bad_parameters():
    X, y = data()
    with pytest.raises(ValueError, match="unknown kind 'forrest'; did you mean 'forest'"):
        forest.ForestClassifier(kind="forrest").fit(X, y)
    with pytest.raises(ValueError, match="n_trees is 0; give a whole number above 0"):
        forest.ForestClassifier(0).fit(X, y)
