import json

import numpy as np
import pytest

from transferkit.metrics import classification_report

LABELS = np.array(["ant", "bee", "cat", "dog"])


def sample(n=200, seed=0):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.ones(4), n)
    true = np.array([rng.choice(4, p=p) for p in proba])
    return true, proba.argmax(axis=1), proba


def test_equals_a_few_lines_of_numpy():
    true, predicted, proba = sample()
    report = classification_report(LABELS[true], LABELS[predicted], proba, LABELS)
    counts = np.zeros((4, 4), int)
    for t, p in zip(true, predicted, strict=True):
        counts[t, p] += 1
    hits, rows, columns = counts.diagonal(), counts.sum(1), counts.sum(0)
    f1 = 2 * hits / (rows + columns)
    assert report.n == 200
    assert report.n_unknown == 0
    assert np.array_equal(report.confusion, counts)
    assert report.labels == tuple(LABELS)
    assert report.accuracy == pytest.approx(hits.sum() / 200)
    assert report.balanced_accuracy == pytest.approx((hits / rows).mean())
    assert report.macro_f1 == pytest.approx(f1.mean())
    assert report.log_loss == pytest.approx(-np.log(proba[np.arange(200), true]).mean())
    for i, row in enumerate(report.classes):
        assert row.label == LABELS[i]
        assert row.support == rows[i]
        assert (row.precision, row.recall, row.f1) == pytest.approx(
            (hits[i] / columns[i], hits[i] / rows[i], f1[i])
        )


def test_an_unseen_true_label_is_an_error_and_nothing_more():
    report = classification_report(
        ["a", "b", "zebra"], ["a", "b", "b"], [[0.9, 0.1], [0.3, 0.7], [0.5, 0.5]], ["a", "b"]
    )
    assert report.n_unknown == 1
    assert report.accuracy == pytest.approx(2 / 3)
    assert report.balanced_accuracy == pytest.approx(2 / 3)
    assert report.log_loss == pytest.approx(-(np.log(0.9) + np.log(0.7)) / 2)
    assert report.labels == ("a", "b", "zebra")
    assert report.confusion == ((1, 0, 0), (0, 1, 0), (0, 1, 0))
    assert report.classes[2].recall == 0


def test_only_unseen_labels():
    report = classification_report(["x"], ["a"], [[0.5, 0.5]], ["a", "b"])
    assert report.accuracy == report.macro_f1 == 0
    assert report.log_loss is None


def test_a_class_without_samples_counts_in_no_mean():
    report = classification_report(["a", "b"], ["a", "b"], None, ["a", "b", "c"])
    assert report.accuracy == report.balanced_accuracy == report.macro_f1 == 1
    assert report.classes[2].support == 0
    assert report.log_loss is None


def test_a_single_label():
    report = classification_report(["a", "a"], ["a", "a"], None, ["a", "b"])
    assert report.confusion == ((2, 0), (0, 0))
    assert report.accuracy == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_probability_of_zero_is_finite(dtype):
    proba = np.array([[1, 0], [1, 0]], dtype=dtype)
    loss = classification_report([0, 1], [0, 0], proba, [0, 1]).log_loss
    assert loss == pytest.approx(-np.log(np.finfo(dtype).eps) / 2, rel=1e-5)


@pytest.mark.parametrize("labels", [["a", "b"], [3, 1], [True, False], [0.5, 1.5]])
def test_to_dict_is_json(labels):
    true = np.array(labels)
    report = classification_report(true, true[::-1], np.full((2, 2), 0.5), np.sort(true))
    values = json.loads(json.dumps(report.to_dict()))
    assert values["labels"] == sorted(labels)
    assert values["confusion"] == [[0, 1], [1, 0]]
    assert values["classes"][0]["label"] == sorted(labels)[0]


@pytest.mark.parametrize(
    ("true", "predicted", "proba", "message"),
    [
        ([], [], None, "y_true has 0 labels and y_pred 0; give"),
        (["a"], ["a", "b"], None, "y_true has 1 labels and y_pred 2; give"),
        (["a"], ["a"], [[1.0]], r"proba has shape \(1, 1\); give .* \(1, 2\)"),
    ],
)
def test_shapes_that_do_not_fit(true, predicted, proba, message):
    with pytest.raises(ValueError, match=message):
        classification_report(true, predicted, proba, ["a", "b"])
