"""Trees as arrays, against scikit-learn's own; and models that were saved with those."""

import zipfile

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from skops.io import dump, dumps, get_untrusted_types, loads

from transferkit.artifacts.head import allowed_types
from transferkit.heads import create_head
from transferkit.solvers.trees import trees_of_boosting, trees_of_forest

RNG = np.random.default_rng(0)
X = RNG.normal(size=(150, 6)).astype(np.float32)
CODES = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
SEVERAL = np.stack([CODES > 0, CODES > 1, CODES < 9], axis=1).astype(int)
NEW = RNG.normal(size=(90, 6)).astype(np.float32)


@pytest.mark.parametrize("kind", [ExtraTreesClassifier, RandomForestClassifier])
def test_a_forest_gives_what_scikit_learn_gives(kind):
    plain = kind(30, random_state=0).fit(X, CODES)
    found = trees_of_forest(plain).predict(NEW)
    np.testing.assert_array_equal(found, plain.predict_proba(NEW))


def test_a_forest_of_several_labels():
    plain = ExtraTreesClassifier(30, random_state=0).fit(X, SEVERAL)
    columns = zip(plain.predict_proba(NEW), plain.classes_, strict=True)
    expected = np.column_stack([(p * (c == 1)).sum(axis=1) for p, c in columns])
    np.testing.assert_allclose(trees_of_forest(plain).predict(NEW), expected, rtol=1e-12)


@pytest.mark.parametrize("y", [X[:, 0], X[:, :2]], ids=["one", "two"])
def test_a_forest_of_numbers(y):
    plain = RandomForestRegressor(30, random_state=0).fit(X, y)
    found = trees_of_forest(plain).predict(NEW).reshape(plain.predict(NEW).shape)
    np.testing.assert_allclose(found, plain.predict(NEW), rtol=1e-12)


def test_boosted_trees_give_what_scikit_learn_gives():
    for y in (CODES, CODES > 0):
        plain = HistGradientBoostingClassifier(max_iter=20).fit(X, y)
        found = trees_of_boosting(plain).predict(NEW)
        expected = plain.decision_function(NEW).reshape(len(NEW), -1)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    plain = HistGradientBoostingRegressor(max_iter=20).fit(X, X[:, 0])
    found = trees_of_boosting(plain).predict(NEW)[:, 0]
    np.testing.assert_allclose(found, plain.predict(NEW), rtol=1e-12)


def test_blocks_of_rows_change_nothing(monkeypatch):
    trees = create_head("forest", n_trees=7).fit(X, CODES).trees_
    whole = trees.predict(NEW)
    monkeypatch.setattr("transferkit.solvers.trees.BLOCK", 20)
    np.testing.assert_array_equal(trees.predict(NEW), whole)


@pytest.mark.parametrize("name", ["forest", "boosting"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_saved_head_names_no_type_of_scikit_learns(name, task, tmp_path):
    y = CODES if task == "classification" else X[:, 0]
    head = create_head(name, task).fit(X, y)
    dump(head, tmp_path / "head.skops")
    with zipfile.ZipFile(tmp_path / "head.skops") as archive:
        assert '"__module__": "sklearn' not in archive.read("schema.json").decode()
    data = dumps(head)
    assert set(get_untrusted_types(data=data)) <= set(allowed_types())
    again = loads(data, trusted=allowed_types())
    np.testing.assert_array_equal(again.predict(NEW), head.predict(NEW))
    assert again.score(X, y) == head.score(X, y)
    assert again.get_params() == head.get_params()
    refitted = clone(again).fit(X, y)
    np.testing.assert_array_equal(refitted.predict(NEW), head.predict(NEW))


def test_a_forest_that_was_saved_as_scikit_learns():
    plain = ExtraTreesClassifier(20, random_state=0).fit(X, CODES)
    head = create_head("forest", n_trees=20).fit(X, CODES)
    head.trees_ = plain
    again = loads(dumps(head), trusted=allowed_types())
    np.testing.assert_array_equal(again.predict_proba(NEW), plain.predict_proba(NEW))
    plain = RandomForestRegressor(20, random_state=0).fit(X, X[:, 0])
    head = create_head("forest", "regression", n_trees=20).fit(X, X[:, 0])
    del head.is_flat_
    head.trees_, head.is_column_ = plain, True
    again = loads(dumps(head), trusted=allowed_types())
    np.testing.assert_allclose(again.predict(NEW), plain.predict(NEW)[:, None], rtol=1e-12)


def test_boosting_that_was_saved_as_scikit_learns():
    plain = HistGradientBoostingClassifier(max_iter=20).fit(X, CODES)
    head = create_head("boosting").fit(X, CODES)
    head.models_ = [plain]
    again = loads(dumps(head), trusted=allowed_types())
    np.testing.assert_allclose(again.predict_proba(NEW), plain.predict_proba(NEW), rtol=1e-9)
    plain = HistGradientBoostingRegressor(max_iter=20).fit(X, 50 + X[:, 0])
    head = create_head("boosting", "regression").fit(X, 50 + X[:, 0])
    del head.target_scale_, head.target_mean_
    head.models_ = [plain]
    again = loads(dumps(head), trusted=allowed_types())
    np.testing.assert_allclose(again.predict(NEW), plain.predict(NEW), rtol=1e-12)


def test_neighbours_that_were_saved_without_an_origin():
    head = create_head("knn", "regression", k=3).fit(X, X[:, 0])
    expected = head.predict(NEW)
    head.X_ = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)
    del head.origin_
    again = loads(dumps(head), trusted=allowed_types())
    np.testing.assert_allclose(again.predict(NEW), expected, atol=1e-4)
