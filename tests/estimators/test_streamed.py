"""Features that stay in the store: fitted on, chosen by and predicted from where they lie."""

import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier

from tests.heads.test_common import blobs, numbers
from tests.pictures import coloured
from transferkit import FeatureExtractor, TransferClassifier, TransferRegressor
from transferkit.datasets import Dataset, folds, is_unread
from transferkit.estimators import fit_folds, side_by_side
from transferkit.estimators.measuring import measure
from transferkit.spec import FeatureSpec, Preprocess
from transferkit.store import FeatureStore, StoredRows

PREPROCESS = Preprocess((224, 224), "bicubic", 0.875, "center", (0.5,) * 3, (0.5,) * 3)
SPEC = FeatureSpec("timm:resnet18", "{}", "random:0", PREPROCESS, "pre_logits")


@pytest.fixture
def stored(tmp_path):
    """Puts an array into a store; returns its rows, which aren't read, and their ids."""

    def stored(X):
        ids = tuple(i.to_bytes(16, "big") for i in range(len(X)))
        store = FeatureStore(tmp_path / "store")
        store.write(SPEC, ids, X)
        return store.open(SPEC, ids), ids

    return stored


@pytest.fixture
def never_gathered(monkeypatch):
    """Fails where unread rows become an array."""

    def refuse(*_, **__):
        raise AssertionError("all rows were gathered")

    monkeypatch.setattr(StoredRows, "__array__", refuse)


def pair(stored, n=150):
    """The same data set twice: with an array, and with rows in the store."""
    X, y = blobs(n, spread=2)
    rows, ids = stored(X)
    labels = np.array(["a", "b", "c"])[y]
    groups = tuple(str(i // 3) for i in range(n))
    return (Dataset(ids=ids, X=each, y=labels, groups=groups) for each in (X, rows))


@pytest.mark.parametrize("head", ["linear", "ridge", "lda", "knn", "centroid"])
def test_a_data_set_of_rows_in_the_store(head, stored, never_gathered):
    array, rows = pair(stored)
    expected = TransferClassifier("resnet18", head).fit_features(array)
    model = TransferClassifier("resnet18", head).fit_features(rows)
    assert model.predict_features(rows.X).tolist() == expected.predict_features(array.X).tolist()
    if hasattr(model, "predict_proba"):
        found = model.predict_proba_features(rows.X)
        np.testing.assert_allclose(found, expected.predict_proba_features(array.X), atol=1e-5)
    assert getattr(model.head_, "C_", None) == getattr(expected.head_, "C_", None)
    np.testing.assert_array_equal(model.train_ids_, expected.train_ids_)
    reports = [measure(one, data).to_dict() for one, data in ((model, rows), (expected, array))]
    assert reports[0]["confusion"] == reports[1]["confusion"]


def test_a_validation_part_that_shares_rows(stored, never_gathered):
    array, rows = pair(stored)
    train, held = np.arange(0, 100), np.arange(90, 150)
    models = [
        TransferClassifier("resnet18").fit_features(
            data.select(train), validation=data.select(held)
        )
        for data in (array, rows)
    ]
    assert models[0].head_.C_ == models[1].head_.C_
    np.testing.assert_allclose(models[1].head_.coef_, models[0].head_.coef_, atol=1e-4)


def test_numbers(stored, never_gathered):
    X, y = numbers()
    rows, _ = stored(X)
    expected = TransferRegressor("resnet18", "ridge").fit_features(X, y).predict_features(X)
    found = TransferRegressor("resnet18", "ridge").fit_features(rows, y).predict_features(rows)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_folds(stored, never_gathered):
    array, rows = pair(stored)
    fold_of = folds(len(rows), 3, 0, labels=rows.y)
    model = TransferClassifier("resnet18", "lda")
    found = fit_folds(model.fit_features(rows), rows, fold_of).predict_proba_features(rows.X)
    whole = model.fit_features(array)
    expected = fit_folds(whole, array, fold_of).predict_proba_features(array.X)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("head", ["forest", SGDClassifier(random_state=0)])
def test_a_head_that_needs_all_rows_reads_them_if_they_fit(head, stored, monkeypatch):
    array, rows = pair(stored)
    expected = TransferClassifier("resnet18", head).fit_features(array)
    model = TransferClassifier("resnet18", head).fit_features(rows)
    assert model.predict_features(rows.X).tolist() == expected.predict_features(array.X).tolist()
    limit = rows.X.nbytes * 2
    monkeypatch.setattr("transferkit.estimators._rows.available_memory", lambda: limit - 2)
    with pytest.raises(ValueError, match=r"\(centroid, knn, lda, linear, mlp, ridge\)") as told:
        TransferClassifier("resnet18", head).fit_features(rows)
    kind = "ForestClassifier" if head == "forest" else "SGDClassifier"
    assert f"{kind} needs them in memory" in str(told.value)
    monkeypatch.setattr("transferkit.estimators._rows.available_memory", lambda: limit)
    TransferClassifier("resnet18", head).fit_features(rows)


def test_neighbours_that_lie_in_a_store_are_not_saved(stored, tmp_path):
    _, rows = pair(stored)
    extractor = FeatureExtractor("test_resnet", pretrained=False, image_size=64)
    model = TransferClassifier(extractor, "knn").fit_features(rows)
    with pytest.raises(ValueError, match=r"KNNClassifier keeps its training features \(X_\)"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("features", ["pre_logits", ["stage3.avg", "pre_logits"]])
def test_images_whose_features_do_not_fit_into_memory(
    features, tmp_path, monkeypatch, never_gathered
):
    images, codes = coloured(10)
    options = {"pretrained": False, "image_size": 64, "store": tmp_path / "store"}
    extractor = FeatureExtractor("test_resnet", features, **options)
    expected = TransferClassifier(extractor).fit(images, codes)
    probabilities = expected.predict_proba(images)
    for place in ("estimators._base", "extract.job"):
        monkeypatch.setattr(f"transferkit.{place}.memory_for_features", lambda: 0)
    model = TransferClassifier(extractor).fit(images, codes)
    np.testing.assert_allclose(model.predict_proba(images), probabilities, atol=1e-5)
    assert model.head_.C_ == expected.head_.C_
    extraction = extractor.extract(images, keep_rows="fitting")
    assert {len(rows) for rows in extraction.rows.values()} == {0}
    assert is_unread(side_by_side(extraction, [3, 1], memory=0))


def test_rows_fit_or_stay(tmp_path):
    images, _ = coloured(2)
    extractor = FeatureExtractor(
        "test_resnet", pretrained=False, image_size=64, store=tmp_path / "store"
    )
    extraction = extractor.extract(images, keep_rows="fitting")
    whole = side_by_side(extraction)
    assert whole is extraction.rows["pre_logits"]
    left = extractor.extract(images, keep_rows="stored")
    n_bytes = whole[:3].nbytes
    found = side_by_side(left, [4, 0, 2], memory=n_bytes)
    assert not is_unread(found)
    np.testing.assert_array_equal(found, whole[[4, 0, 2]])
    kept = side_by_side(left, [4, 0, 2], memory=n_bytes - 1)
    assert is_unread(kept)
    np.testing.assert_array_equal(kept[:], whole[[4, 0, 2]])
