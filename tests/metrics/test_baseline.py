"""Every report beside what is got without looking at an image."""

import json
import warnings

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)

from transferkit.metrics import classification_report, multilabel_report, regression_report
from transferkit.metrics._baseline import FEW
from transferkit.metrics._metric import four_digits
from transferkit.metrics._ranking import ranking_draws, weighted_ranking
from transferkit.uncertainty import bootstrap_draws, bootstrap_interval, share_interval


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def noise(rng, n=300):
    """Labels and predictions that have nothing to do with one another, 60 % of them cats."""
    names, shares = np.array(["bird", "cat", "dog"]), [0.1, 0.6, 0.3]
    return names[rng.choice(3, n, p=shares)], names[rng.choice(3, n, p=shares)], names


def test_the_most_frequent_class_as_scikit_learns_dummy(rng):
    true, predicted, names = noise(rng)
    baseline = classification_report(true, predicted, None, names).baseline
    dummy = DummyClassifier().fit(np.zeros((len(true), 1)), true).predict(np.zeros((len(true), 1)))
    plain, balanced = baseline.of("accuracy"), baseline.of("balanced_accuracy")
    assert plain.value == pytest.approx(accuracy_score(true, predicted))
    assert plain.baseline == pytest.approx(accuracy_score(true, dummy))
    assert balanced.value == pytest.approx(balanced_accuracy_score(true, predicted))
    assert balanced.baseline == pytest.approx(balanced_accuracy_score(true, dummy))
    assert plain.low < plain.value < plain.high
    assert balanced.low < balanced.value < balanced.high
    assert not baseline.is_beaten
    shown = f"{100 * plain.baseline:.1f} %"
    assert baseline.verdict == f"no better than always saying 'cat' ({shown})"


def test_a_model_that_is_better_says_what_it_is_better_than(rng):
    true, _, names = noise(rng)
    right = rng.random(len(true)) < 0.9
    predicted = np.where(right, true, "bird")
    baseline = classification_report(true, predicted, None, names).baseline
    assert baseline.is_beaten
    assert baseline.verdict.startswith("always saying 'cat' gets ")
    gains = bootstrap_draws(
        lambda rows: (true == predicted)[rows].mean() - (true == "cat")[rows].mean(), len(true)
    )
    low, high = np.quantile(gains, [0.025, 0.975])
    plain = baseline.of("accuracy")
    assert (plain.gain_low, plain.gain_high) == pytest.approx((low, high))
    assert (plain.low, plain.high) == share_interval(int((true == predicted).sum()), len(true))


def test_a_little_better_than_the_baseline_on_few_images_is_not_better():
    true, predicted = ["a", "a", "a", "b", "b"], ["a", "a", "a", "b", "b"]
    verdict = classification_report(true, predicted, None, ["a", "b"]).baseline.verdict
    assert verdict == "no better than always saying 'a' (60.0 %), as far as these images can tell"


def test_classes_told_apart_at_the_price_of_accuracy():
    """Balanced weights: rarely a cat is called a cat, but every dog a dog."""
    true = np.repeat(["cat", "dog"], [180, 20])
    predicted = np.where(np.arange(200) < 140, true, "dog")
    baseline = classification_report(true, predicted, None, ["cat", "dog"]).baseline
    assert not baseline.of("accuracy").is_better
    assert baseline.is_beaten
    assert baseline.verdict == (
        "always saying 'cat' gets 90.0 %, as far as these images can tell no less, but 50.0 % "
        "balanced"
    )


@pytest.mark.parametrize(
    ("true", "words"),
    [
        (["a"], "the only image is of class 'a', which can't show whether the model tells"),
        (["a"] * 30, "all 30 images are of class 'a', which can't show whether"),
    ],
)
def test_one_class_only(true, words):
    report = classification_report(true, true, np.full((len(true), 2), 0.5), ["a", "b"])
    assert not report.baseline.is_beaten
    assert report.baseline.verdict.startswith(words)
    assert "NaN" not in json.dumps(report.to_dict())


def test_the_baseline_says_what_the_model_could_say():
    """A class that the model never saw is no baseline, unless there is no other."""
    true = ["a", "a", "zebra", "zebra", "zebra"]
    assert classification_report(true, true, None, ["a", "b"]).baseline.rule == "always saying 'a'"
    only = classification_report(true[2:], ["a"] * 3, None, ["a", "b"]).baseline
    assert only.rule == "always saying 'zebra'"


def test_the_best_constant_as_scikit_learns_dummies(rng):
    true = rng.exponential(size=(80, 2))
    predicted = true.mean(axis=0) + 0.1 * rng.normal(size=true.shape)
    report = regression_report(true, predicted, ["x", "y"])
    nothing = np.zeros((80, 1))
    median = DummyRegressor(strategy="median").fit(nothing, true).predict(nothing)
    mae = report.baseline.of("mae")
    assert mae.baseline == pytest.approx(mean_absolute_error(true, median))
    assert mae.value == pytest.approx(report.mae)
    r2 = report.baseline.of("r2")
    assert (r2.value, r2.baseline) == (pytest.approx(r2_score(true, predicted)), 0)
    assert report.targets[1].baseline_mae == pytest.approx(
        mean_absolute_error(true[:, 1], median[:, 1])
    )
    assert not report.baseline.is_beaten
    assert report.baseline.verdict == (
        "no better than always saying the same number (R² 0, MAE "
        f"{four_digits(mae.baseline)} at best), as far as these images can tell"  # R² is 0.009
    )
    behind = regression_report(true, 2 * true.mean(axis=0) - predicted, ["x", "y"]).baseline
    assert behind.verdict.endswith(" at best)")
    low, high = report.rmse_interval
    assert low < report.rmse < high


def test_a_regression_that_is_better(rng):
    true = rng.normal(size=100)
    baseline = regression_report(true, true + 0.1 * rng.normal(size=100)).baseline
    assert baseline.is_beaten
    assert baseline.verdict.startswith("always saying the same number gets R² 0, MAE 0.")
    few = regression_report(true[: FEW - 1], true[: FEW - 1]).baseline
    assert not few.is_beaten
    assert few.verdict.endswith(", as far as these images can tell")


def test_targets_that_are_all_alike():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        constant = regression_report([0.1] * 3, [0.2, 0.1, 0.3], ["age"])  # mean(0.1, …) isn't 0.1
        single = regression_report([4], [5])
        one_of_two = regression_report([[1, 5], [2, 5]], [[1, 5], [2, 5]], ["a", "b"])
    assert constant.r2 is single.r2 is one_of_two.r2 is None
    assert constant.baseline.verdict == (
        "age has the same true value in all 3 images, so R² is undefined"
    )
    assert "one image can't show" in single.baseline.verdict
    assert one_of_two.baseline.verdict.startswith("b has the same true value in all 2 images, so")
    assert "no better than" in one_of_two.baseline.verdict


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(wrong):
    with pytest.raises(ValueError, match="1 of 2 values of y_pred are NaN or infinite"):
        regression_report([1, 2], [1, wrong])


def test_chance_in_several_labels(rng):
    true = (rng.random((200, 3)) < [0.63, 0.5, 0.1]).astype(int)
    scores = rng.random((200, 3))
    predicted = (scores > 0.5).astype(int)
    report = multilabel_report(true, predicted, scores, ["a", "b", "c"])
    share = true.mean(axis=0)
    precision, auroc, f1, exact = report.baseline.comparisons
    assert (precision.value, auroc.value) == (report.mean_average_precision, report.mean_auroc)
    assert (f1.value, exact.value) == (pytest.approx(report.macro_f1), report.exact_match)
    assert precision.baseline == pytest.approx(share.mean())
    assert auroc.baseline == 0.5
    assert f1.baseline == pytest.approx(f1_score(true, np.ones_like(true), average="macro"))
    sets = [tuple(row) for row in true.tolist()]
    assert exact.baseline == max(map(sets.count, sets)) / 200
    assert [row.prevalence for row in report.labels] == pytest.approx(share)
    assert not report.baseline.is_beaten
    assert not any(row.is_better for row in report.labels)
    assert report.baseline.verdict.startswith("no better than chance (mAP 38.5 %, ")
    assert "AUROC 50 %)" in report.baseline.verdict


@pytest.mark.suites
def test_map_of_a_ranking_by_chance_does_not_pass_for_better(rng):
    """A bootstrap alone is too sure of mAP: it would call a third of these rankings better."""
    beaten = 0
    for _ in range(12):
        true = (rng.random((40, 3)) < [0.63, 0.5, 0.1]).astype(int)
        scores = rng.random((40, 3))
        baseline = multilabel_report(true, (scores > 0.5).astype(int), scores, "abc").baseline
        beaten += baseline.of("mean_average_precision").is_better
    assert beaten <= 1


def test_several_labels_that_were_learnt(rng):
    true = (rng.random((60, 2)) < 0.4).astype(int)
    scores = true * 0.4 + rng.random((60, 2)) * 0.6
    report = multilabel_report(true, (scores > 0.5).astype(int), scores, "ab")
    assert report.baseline.is_beaten
    assert all(row.is_better for row in report.labels)
    assert report.baseline.verdict == f"chance gets mAP {100 * true.mean():.1f} %, AUROC 50 %"
    without = multilabel_report(true, true, None, "ab").baseline
    assert without.is_beaten
    assert without.verdict.startswith("always saying the same labels gets macro F1 ")


def test_several_labels_where_nothing_can_be_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = multilabel_report([[1, 0]], [[1, 0]], [[0.9, 0.1]], "ab")
        same = multilabel_report([[1, 0]] * 9, [[1, 0]] * 9, [[0.9, 0.1]] * 9, "ab")
        two = multilabel_report([[1, 0], [0, 0]], [[1, 0], [0, 0]], [[0.9, 0.1], [0.2, 0.1]], "ab")
    assert one.baseline.verdict.startswith("the only image is with the same labels")
    assert same.baseline.verdict.startswith("all 9 images are with the same labels")
    assert two.baseline.verdict.endswith("as far as these images can tell")
    for report in (one, same, two):
        assert not report.baseline.is_beaten
        assert "NaN" not in json.dumps(report.to_dict())


def test_weighted_rankings_as_scikit_learn(rng):
    true = (rng.random(50) < 0.4).astype(int)
    scores = rng.integers(0, 12, 50) / 12  # with ties
    weights = rng.integers(0, 4, 50)
    found = weighted_ranking(true, scores)(weights)
    assert found[0] == pytest.approx(average_precision_score(true, scores, sample_weight=weights))
    assert found[1] == pytest.approx(roc_auc_score(true, scores, sample_weight=weights))
    draws = ranking_draws(true[:, None], scores[:, None])
    rows = np.random.default_rng(0).integers(0, 50, 50)
    expected = (
        average_precision_score(true[rows], scores[rows]),
        roc_auc_score(true[rows], scores[rows]),
    )
    assert draws[0, 0] == pytest.approx((*expected, true[rows].mean()))


def test_intervals_of_several_measures_are_those_of_each(rng):
    values = rng.normal(size=(30, 2))
    draws = bootstrap_draws(lambda rows: values[rows].mean(axis=0), 30)
    for column, drawn in zip(values.T, draws.T, strict=True):
        low, high = bootstrap_interval(lambda rows, c=column: c[rows].mean(), 30)
        assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.95, "0.95"),
        (12345.6, "12,346"),
        (-0.0213, "-0.0213"),
        (3e-9, "3e-09"),
        (250000, "250,000"),
        (99.99999, "100"),
        (1.5e12, "1.5e+12"),
    ],
)
def test_numbers_are_written_without_needless_exponents(value, text):
    assert four_digits(value) == text
