import importlib.util
import sys

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.ensemble import HistGradientBoostingClassifier
from skops.io import dumps, loads

from transferkit.artifacts.head import allowed_types
from transferkit.heads.boosting import BoostingClassifier, BoostingRegressor
from transferkit.solvers import boosting

OTHERS = [
    pytest.param(
        library,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(library) is None, reason=f"{library} is not installed"
        ),
    )
    for library in ("xgboost", "lightgbm")
]
QUICK = {"max_rounds": 15, "max_features": 1.0, "n_jobs": 1}


def blobs(n_classes=3):
    return make_blobs(120, centers=4 * np.eye(n_classes, 6), cluster_std=1.5, random_state=0)


def test_it_is_scikit_learns():
    X, y = blobs()
    head = BoostingClassifier(max_rounds=7, refit=True).fit(X, y)
    plain = HistGradientBoostingClassifier(
        learning_rate=0.2, max_iter=head.n_rounds_[0], max_leaf_nodes=8, min_samples_leaf=5,
        max_features=0.1, max_bins=31, early_stopping=False,
        random_state=np.random.RandomState(0).randint(2**31 - 1),
    ).fit(X, y)  # fmt: skip
    np.testing.assert_allclose(head.predict_proba(X), plain.predict_proba(X), rtol=1e-6)


def test_it_stops_early():
    X, y = blobs()
    head = BoostingClassifier(patience=3, max_features=1.0).fit(X, y)
    assert head.n_rounds_[0] < 200


@pytest.mark.parametrize("library", OTHERS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_other_libraries_classify(library, n_classes):
    X, y = blobs(n_classes)
    head = BoostingClassifier(library, **QUICK).fit(X, np.array(["a", "b", "c"])[y])
    assert isinstance(head.models_[0], str)
    proba = head.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    assert (head.classes_[proba.argmax(axis=1)] == np.array(["a", "b", "c"])[y]).mean() > 0.9
    again = BoostingClassifier(library, **QUICK).fit(X, np.array(["a", "b", "c"])[y])
    np.testing.assert_array_equal(again.predict_proba(X), proba)


@pytest.mark.parametrize("library", OTHERS)
def test_other_libraries_do_labels_numbers_and_files(library):
    X, _ = blobs()
    trusted = allowed_types()
    labels = BoostingClassifier(library, **QUICK).fit(X, (X[:, :2] > 2).astype(int))
    assert (labels.predict(X) == (X[:, :2] > 2)).mean() > 0.9
    numbers = BoostingRegressor(library, **QUICK, refit=True).fit(X, X[:, :2])
    assert numbers.score(X, X[:, :2]) > 0.8
    for head in (labels, numbers):
        again = loads(dumps(head), trusted=trusted)
        np.testing.assert_array_equal(again.predict(X), head.predict(X))


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_library_that_is_not_there(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r"not installed; give .* pip install transferkit\["):
        boosting.probe(library)
    with pytest.raises(ImportError, match=f"library is '{library}'"):
        BoostingClassifier(library).fit(*blobs())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"library": "xgbost"}, "unknown library 'xgbost'; did you mean 'xgboost'"),
        ({"max_rounds": 0}, "max_rounds is 0; give a whole number above 0"),
        ({"max_features": 2}, "max_features is 2; give a number between 0 and 1"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        BoostingClassifier(**parameters).fit(*blobs())
