"""Certificates of compressed rows, against plain sums and a probe made another way."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tests.store.conftest import SPEC
from transferkit.datasets.splits import hold_out
from transferkit.extract import certifying
from transferkit.extract.certifying import SampledRows, certify
from transferkit.store.encoding import stored_values

INT8 = dataclasses.replace(SPEC, storage="int8")


def rows_of(n, width=70, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    means = rng.normal(size=(3, width))
    return (means[labels] + 6 * rng.normal(size=(n, width))).astype(np.float32), labels


def probe(X, y, train, test):
    """Ridge regression on indicators, without scikit-learn's classifier and pipeline."""
    X = (X - X[train].mean(axis=0)) / X[train].std(axis=0)
    ridge = Ridge(alpha=0.1 * len(train)).fit(X[train], 2.0 * np.eye(3)[y[train]] - 1)
    return (ridge.predict(X[test]).argmax(axis=1) == y[test]).mean()


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_the_probes_accuracy(storage):
    rows, labels = rows_of(400)
    names = [f"class {i}" for i in labels]
    certificate = certify(rows, storage, names)
    train, test = hold_out(400, 0.25, 0, labels=names)
    assert certificate.n_held_out == len(test)
    stored = stored_values(rows, storage).astype(np.float32)
    assert certificate.accuracy == probe(stored, labels, train, test)
    assert certificate.float32_accuracy == probe(rows, labels, train, test)
    assert 0.5 < certificate.float32_accuracy < 1


def test_a_class_that_is_too_coarse_shows():
    # What tells the classes apart is beyond the digits of int8: a large value beside it.
    rows, labels = rows_of(400, width=20)
    rows *= 1e-3
    rows[:, 7] = 10
    certificate = certify(rows, "int8", labels.astype(str))
    assert certificate.smallest_cosine > 0.9999
    assert certificate.accuracy < certificate.float32_accuracy - 0.1
    assert certify(rows, "float16", labels.astype(str)).accuracy > certificate.accuracy


@pytest.mark.parametrize(
    "labels",
    [
        None,
        [None] * 40,
        ["one"] * 40,
        [str(i) for i in range(40)],
        ["a"] * 4 + ["b"] * 4 + [None] * 32,
        ["a"] * 38 + ["b"] * 2,
    ],
)
def test_without_classes_there_is_no_probe(labels):
    certificate = certify(rows_of(40)[0], "int8", labels)
    assert (certificate.n_rows, certificate.n_held_out) == (40, 0)


def test_maps_have_no_probe():
    rows = rows_of(40, width=72)[0].reshape(40, 8, 3, 3)
    assert certify(rows, "int8", ["a", "b"] * 20).n_held_out == 0


def test_the_sample_is_spread_over_the_run_and_measured_as_it_grows(monkeypatch):
    monkeypatch.setattr(certifying, "_SAMPLE_ROWS", 100)
    measured = []

    def noted(rows, storage, labels):
        measured.append(len(rows))
        return certify(rows, storage, labels)

    monkeypatch.setattr(certifying, "certify", noted)
    rows, labels = rows_of(1000)
    ids = [i.to_bytes(16, "big") for i in range(1000)]
    sample = SampledRows({"f": INT8}, dict(zip(ids, labels.astype(str), strict=True)))
    assert sample.provenance("f", is_last=False) == {}
    for start in range(0, 1000, 50):
        sample.add(ids[start : start + 50], {"f": rows[start : start + 50]})
        told = sample.provenance("f", is_last=start == 950)
    assert measured == [5, 10, 20, 40, 80, 100]
    assert told["storage_sample"] == "100"
    chosen = np.linspace(0, 999, 100).astype(int)
    expected = certify(rows[chosen], "int8", labels[chosen].astype(str)).to_provenance()
    assert told == expected
    assert sample.worst() == {"storage": "int8", "storage_feature": "f", **expected}


def test_few_rows_of_large_maps_are_kept(monkeypatch):
    monkeypatch.setattr(certifying, "_SAMPLE_BYTES", 3 * 4 * 72)
    rows = rows_of(40, width=72)[0].reshape(40, 8, 3, 3)
    ids = [i.to_bytes(16, "big") for i in range(40)]
    sample = SampledRows({"f": INT8}, dict.fromkeys(ids))
    sample.add(ids, {"f": rows})
    assert sample.provenance("f", is_last=True)["storage_sample"] == "3"
