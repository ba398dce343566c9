"""Numbers of unusual size: prices, Unix times, features far from zero, the ends of float32."""

import logging
import warnings

import numpy as np
import pytest
from sklearn.metrics import r2_score
from skops.io import dumps, loads

from tests.heads.test_common import every_classifier, every_head, every_regressor, quick
from transferkit.artifacts.head import allowed_types
from transferkit.heads import create_head, describe

pytestmark = pytest.mark.suites

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 6)).astype(np.float32)
SUM = X[:, :2].sum(axis=1) + 0.1 * RNG.normal(size=200)
CODES = (SUM > 0.6).astype(int) + (SUM > -0.6)
# A cosine is of rows as they are, so only a head that centres them can be blind to their place.
CENTRED = {"knn": {"center": True}}
VARIANTS = [
    ("svm", {"kernel": "linear"}),
    ("svm", {"n_exact": 0}),
    ("svm", {"n_exact": 0, "n_whole": 0, "n_landmarks": 50}),
    ("knn", {"metric": "l2", "weights": "distance"}),
    ("knn", {"metric": "l2", "weights": "uniform"}),
    ("ridge", {"standardize": False}),
    ("forest", {"kind": "forest", "n_trees": 20}),
]


def score(name, task, X, y, **parameters):
    head = quick(name, task, **parameters).fit(X[:150], y[:150])
    return head.score(X[150:], y[150:])


def as_before(name, task, moved, y, parameters, tolerance=0.03):
    parameters = CENTRED.get(name, {}) | parameters
    before, after = (score(name, task, rows, y, **parameters) for rows in (X, moved))
    assert before > 0.5
    assert after == pytest.approx(before, abs=tolerance)


@every_regressor
@pytest.mark.parametrize("shape", ["flat", "two"])
@pytest.mark.parametrize("shift_and_scale", [(1e8, 1.0), (1.7e9, 1e3), (1e12, 1.0), (0, 1e60)])
def test_large_targets(name, shape, shift_and_scale):
    shift, scale = shift_and_scale
    y = SUM if shape == "flat" else np.stack([SUM, X[:, 2] - X[:, 0]], axis=1)
    before = quick(name, "regression").fit(X[:150], y[:150]).predict(X[150:])
    head = quick(name, "regression").fit(X[:150], (shift + scale * y)[:150])
    found = head.predict(X[150:])
    assert found.dtype == np.float64
    assert r2_score(before, (found - shift) / scale) > 0.98
    again = loads(dumps(head), trusted=allowed_types())
    np.testing.assert_array_equal(again.predict(X[150:]), found)


@pytest.mark.parametrize(("name", "parameters"), VARIANTS)
def test_large_targets_by_other_solvers(name, parameters):
    head = create_head(name, "regression", **parameters)
    assert head.fit(X[:150], SUM[:150]).score(X[150:], SUM[150:]) > 0.5
    assert head.fit(X[:150], 1e9 + SUM[:150]).score(X[150:], 1e9 + SUM[150:]) > 0.5


@pytest.mark.parametrize("name", ["ridge", "forest", "boosting", "mlp", "svm"])
def test_large_targets_of_weighted_rows(name):
    weight = 1.0 + (np.arange(200) % 3)
    plain, far = (
        quick(name, "regression").fit(X, shift + SUM, sample_weight=weight).predict(X) - shift
        for shift in (0, 1e9)
    )
    assert r2_score(plain, far) > 0.98


MOVES = {
    "far from zero": lambda X: X + np.float32(1e4),
    "far from zero, float64": lambda X: X.astype(float) + 1e6,
    "large": lambda X: X * np.float32(1e37),
    "the largest": lambda X: np.clip(X.astype(float) * 1e38, -3.4e38, 3.4e38).astype(np.float32),
    "small": lambda X: X * np.float32(1e-30),
    "denormal": lambda X: X * np.float32(1e-38),
    "beside constants": lambda X: np.column_stack([X, np.full((len(X), 2), np.float32(7e6))]),
}


@every_head
@pytest.mark.parametrize("move", MOVES)
def test_features_of_any_size_and_place(name, task, move):
    # Centring divides by a length: a constant column and the random draws of trees change little.
    y = CODES if task == "classification" else SUM
    as_before(name, task, MOVES[move](X), y, {}, 0.12 if "constants" in move else 0.06)


@pytest.mark.parametrize(("name", "parameters"), VARIANTS)
@pytest.mark.parametrize("move", ["far from zero", "far from zero, float64", "large"])
def test_features_by_other_solvers(name, parameters, move):
    as_before(name, "classification", MOVES[move](X), CODES, parameters, 0.06)


def test_cosines_of_rows_far_from_zero_are_those_of_float64():
    far = X + np.float32(1e4)
    head = create_head("knn", k=5).fit(far, CODES)
    wide = far.astype(float)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    distance = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
    nearest = np.argsort(distance, axis=1)[:, :5]
    expected = np.stack([(CODES[nearest] == c).mean(axis=1) for c in range(3)], axis=1)
    np.testing.assert_allclose(head.predict_proba(far), expected, atol=1e-4)


@every_head
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_that_are_not_finite_are_named(name, task, value, dtype):
    y = CODES if task == "classification" else SUM
    bad = X.astype(dtype)
    bad[[7, 9], 2] = value
    word = "NaN" if np.isnan(value) else "infinity"
    message = rf"^X holds {word} in 2 of 200 rows, the first being row 7; [^\n]*again$"
    with pytest.raises(ValueError, match=message):
        quick(name, task).fit(bad, y)
    head = quick(name, task).fit(X, y)
    with pytest.raises(ValueError, match=message):
        head.predict(bad)


@every_head
@pytest.mark.parametrize(("factor", "word"), [(1e300, "divide"), (1e-300, "multiply")])
def test_features_beyond_float32_are_refused(name, task, factor, word):
    y = CODES if task == "classification" else SUM
    with pytest.raises(ValueError, match=f"^X holds numbers up to .*: {word} them by a number"):
        quick(name, task).fit(X.astype(float) * factor, y)


def test_squares_beyond_float32_in_one_sentence():
    rows = np.concatenate([X, np.float32(3e38) * (np.arange(200) == 3)[:, None]], axis=1)
    with pytest.raises(ValueError, match="squares of the features leave the range of float32"):
        create_head("linear", standardize=False).fit(rows.astype(np.float32), CODES)


@every_classifier
def test_many_classes_of_few_images_without_a_guess(name):
    y = np.arange(60) % 40
    rows = (5 * np.eye(40, 40)[y] + 0.1 * RNG.normal(size=(60, 40))).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head = quick(name).fit(rows, y)
        predicted = head.predict(rows)
    assert set(predicted) <= set(range(40))


@every_classifier
def test_measurements_are_no_labels(name):
    with pytest.raises(
        ValueError, match="Unknown label type: y holds numbers with fractions, such"
    ):
        quick(name).fit(X, SUM)


def test_a_wider_path_is_advised_beyond_noise_only(caplog):
    caplog.set_level(logging.WARNING)
    noise = np.random.default_rng(1)
    for seed in range(5):
        rows = noise.normal(size=(100, 20))
        create_head("linear", random_state=seed).fit(rows, noise.integers(0, 2, 100))
    assert not caplog.messages
    head = create_head("linear", Cs=[1e-5, 1e-3, 1e-2]).fit(X, CODES)
    assert head.C_on_edge_
    assert "a wider Cs may do better" in caplog.text


def test_every_head_that_takes_weights_was_a_subject():
    takes = {n for n in ("ridge", "forest", "boosting", "mlp", "svm") if describe(n).sample_weight}
    assert takes == {"ridge", "forest", "boosting", "mlp", "svm"}
