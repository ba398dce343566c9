"""Calibration, regression and multi-label reports against a second, simpler way."""

import json
import warnings

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from transferkit.metrics import calibration_error, multilabel_report, regression_report


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_calibration_error_as_a_loop_over_bins(rng):
    proba = rng.dirichlet(np.ones(4), 500)
    right = rng.random(500) < proba.max(axis=1) ** 2
    confidence = proba.max(axis=1)
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(right, proba) == pytest.approx(expected)


def test_a_confidence_on_an_edge_is_in_the_bin_below_it():
    """Bins are closed above, as in Guo et al.: k/15 is with what is less, not with what is more."""
    edges = np.arange(1, 16) / 15
    for k, edge in enumerate(edges, start=1):
        # Right at the edge, wrong just below it: one bin, so that both cancel at 1/2.
        proba = np.array([[edge], [edge - 1 / 45]])
        together = abs(1 - (2 * edge - 1 / 45)) / 2
        assert calibration_error([1, 0], proba) == pytest.approx(together), k
        if k < 15:  # just above it is another bin: nothing cancels
            apart = (abs(1 - edge) + (edge + 1 / 45)) / 2
            assert calibration_error([1, 0], [[edge], [edge + 1 / 45]]) == pytest.approx(apart), k


def test_calibrated_predictions_have_a_small_error(rng):
    proba = rng.dirichlet(np.ones(3), 200_000)
    right = rng.random(len(proba)) < proba.max(axis=1)
    assert calibration_error(right, proba) < 0.01
    assert calibration_error(np.zeros(10), np.tile([[1.0, 0.0]], (10, 1))) == 1


@pytest.mark.parametrize("n_targets", [1, 3])
def test_regression(rng, n_targets):
    true = rng.normal(size=(40, n_targets))
    predicted = true + rng.normal(size=true.shape)
    names = [f"t{i}" for i in range(n_targets)]
    given = (true[:, 0], predicted[:, 0]) if n_targets == 1 else (true, predicted)
    report = regression_report(*given, names)
    assert report.r2 == pytest.approx(r2_score(true, predicted))
    assert report.mae == pytest.approx(mean_absolute_error(true, predicted))
    assert report.rmse == pytest.approx(root_mean_squared_error(true, predicted))
    assert [row.name for row in report.targets] == names
    assert json.loads(json.dumps(report.to_dict()))["n"] == 40


def test_regression_on_constant_targets():
    report = regression_report([2, 2], [1, 3])
    assert report.r2 is None
    assert report.mae == 1
    with pytest.raises(ValueError, match="no samples"):
        regression_report([], [])
    with pytest.raises(ValueError, match="2 targets, but 1 names"):
        regression_report(np.ones((3, 2)), np.ones((3, 2)))


def test_multilabel(rng):
    true = rng.random((60, 3)) < 0.3
    proba = np.clip(true * 0.4 + rng.random((60, 3)) * 0.6, 0, 1)
    predicted = proba > 0.5
    report = multilabel_report(true, predicted, proba, ["a", "b", "c"])
    assert report.exact_match == pytest.approx(np.mean([*map(np.array_equal, true, predicted)]))
    assert report.mean_average_precision == pytest.approx(average_precision_score(true, proba))
    assert report.mean_auroc == pytest.approx(roc_auc_score(true, proba))
    assert [row.support for row in report.labels] == true.sum(axis=0).tolist()
    assert json.loads(json.dumps(report.to_dict()))["labels"][2]["label"] == "c"


def test_multilabel_where_numbers_are_undefined():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = multilabel_report(
            [[1, 0], [1, 1]], [[1, 0], [1, 0]], [[0.9, 0.1], [0.8, 0.2]], "ab"
        )
    assert report.labels[0].auroc is None
    assert report.mean_auroc == report.labels[1].auroc == 1
    assert multilabel_report([[1, 0]], [[1, 0]], None, "ab").mean_average_precision is None
    with pytest.raises(ValueError, match="a column for each of 3 labels"):
        multilabel_report([[1, 0]], [[1, 0]], None, "abc")
