"""What a row tells, beside scikit-learn's numbers."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)

from transferkit import metrics
from transferkit.benchmark.measuring import measure
from transferkit.protocols import Probe

LOGITS = Probe(lambda rows: rows, {}, None, None, True)
MARGINS = Probe(lambda rows: rows, {}, None, None, False)


def check_columns(row, first):
    """A row begins as it always did; metrics that were added since follow."""
    names = list(row)
    assert names[: len(first)] == first
    assert set(names[len(first) :]) <= set(metrics.names())


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_classes(rng):
    y = rng.integers(0, 3, 90)
    scores = rng.normal(size=(90, 3)) + 2 * np.eye(3)[y]
    row, right = measure("classification", LOGITS, scores, y)
    predicted = scores.argmax(axis=1)
    common = ["main", "interval", "baseline", "is_better"]
    check_columns(row, ["accuracy", "balanced_accuracy", "macro_f1", *common, "ece"])
    assert row["accuracy"] == accuracy_score(y, predicted) == right.mean()
    assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, predicted))
    assert row["macro_f1"] == pytest.approx(f1_score(y, predicted, average="macro"))
    assert row["is_better"] is True
    assert "ece" not in measure("classification", MARGINS, scores, y)[0]


def test_two_classes_have_an_auroc(rng):
    y = rng.integers(0, 2, 50)
    scores = rng.normal(size=(50, 2))
    auroc = measure("classification", MARGINS, scores, y)[0]["auroc"]
    assert auroc == pytest.approx(roc_auc_score(y, scores[:, 1] - scores[:, 0]))


def test_a_class_that_the_probe_never_saw_is_an_error():
    row, right = measure("classification", LOGITS, np.eye(2)[[0, 1, 0]], np.array([0, 1, 5]))
    assert right.tolist() == [1, 1, 0]
    assert row["balanced_accuracy"] == pytest.approx(2 / 3)


def test_labels(rng):
    y = (rng.random((40, 3)) < 0.4).astype(int)
    scores = rng.normal(size=y.shape) + y
    row, right = measure("multilabel", LOGITS, scores, y)
    check_columns(row, ["map", "label_accuracy", "main", "interval", "baseline", "is_better"])
    assert row["label_accuracy"] == pytest.approx(((scores > 0) == y).mean())
    assert right.shape == (40,)


def test_numbers(rng):
    y = rng.normal(size=(40, 2))
    predicted = y + 0.1 * rng.normal(size=y.shape)
    row, values = measure("regression", MARGINS, predicted, y)
    check_columns(row, ["r2", "mae", "main", "interval", "baseline", "is_better"])
    weighted = r2_score(y, predicted, multioutput="variance_weighted")
    assert row["r2"] == pytest.approx(weighted)
    assert row["mae"] == pytest.approx(mean_absolute_error(y, predicted))
    assert values.mean() == pytest.approx(-((predicted - y) ** 2).mean())


def test_a_metric_added_as_a_file_is_in_every_row(rng, toy_metric):
    y = rng.integers(0, 2, 40)
    scores = rng.normal(size=(40, 2))
    assert measure("classification", LOGITS, scores, y)[0][toy_metric] == 10
    assert measure("multilabel", LOGITS, scores, np.eye(2, dtype=int)[y])[0][toy_metric] == 10
    assert measure("regression", MARGINS, scores, scores)[0][toy_metric] == 10
