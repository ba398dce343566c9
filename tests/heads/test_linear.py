import logging
import warnings

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.solvers.problems import problem, reference
from transferkit.heads.linear import LinearClassifier
from transferkit.solvers.linear import LinearProblems
from transferkit.solvers.logistic import C_WITHOUT_HOLDOUT


def data(n=200, n_classes=3, seed=0):
    X, y = make_classification(
        n, 12, n_informative=6, n_classes=n_classes, flip_y=0.1, random_state=seed
    )
    return 3 * X + np.arange(12), y


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("C", [0.01, 1.0])
@pytest.mark.parametrize("class_weight", [None, {0: 1, 1: 1, 2: 1}])
def test_equals_a_pipeline_at_fixed_C(n_classes, C, class_weight):
    X, y = data(n_classes=n_classes)
    if class_weight is not None:
        class_weight = {label: class_weight[label] for label in range(n_classes)}
    head = LinearClassifier(C=C, tol=1e-8, class_weight=class_weight).fit(X, y)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=C, tol=1e-8, max_iter=1000))
    pipeline.fit(X, y)
    scaler, model = pipeline[0], pipeline[1]
    coef = model.coef_ / scaler.scale_
    np.testing.assert_allclose(head.coef_, coef, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(
        head.intercept_, model.intercept_ - coef @ scaler.mean_, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(head.predict_proba(X), pipeline.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(head.decision_function(X), pipeline.decision_function(X), atol=1e-5)
    assert head.C_path_ == []
    assert not head.C_on_edge_


def test_without_standardisation_it_is_plain_logistic_regression():
    X, y = data()
    head = LinearClassifier(C=0.1, tol=1e-7, standardize=False).fit(X, y)
    plain = LogisticRegression(C=0.1, tol=1e-7, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(head.coef_, plain.coef_, rtol=1e-4, atol=1e-6)


def test_balanced_classes_equal_their_sample_weights():
    X, y = data()
    keep = (y > 0) | (np.arange(len(y)) % 4 == 0)
    X, y = X[keep], y[keep]
    weight = (len(y) / 3 / np.bincount(y))[y]
    balanced = LinearClassifier(C=0.1, class_weight="balanced", tol=1e-7).fit(X, y)
    weighted = LinearClassifier(C=0.1, tol=1e-7).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(balanced.coef_, weighted.coef_, atol=1e-6)


def test_weights_are_repetitions_at_fixed_C():
    X, y = data(60)
    weight = np.arange(len(y)) % 3
    weighted = LinearClassifier(C=0.1, tol=1e-8).fit(X, y, sample_weight=weight)
    repeated = LinearClassifier(C=0.1, tol=1e-8).fit(
        np.repeat(X, weight, axis=0), np.repeat(y, weight)
    )
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-6)


def test_given_validation_chooses_as_a_plain_loop_does():
    X, y = data(300)
    train, held = slice(0, 100), slice(100, 300)
    Cs = [1e-4, 1e-3, 1e-2, 0.1, 1, 10]
    scaler = StandardScaler().fit(X[train])
    losses = []
    for C in Cs:
        model = LogisticRegression(C=C, max_iter=1000, tol=1e-6)
        model.fit(scaler.transform(X[train]), y[train])
        losses.append(log_loss(y[held], model.predict_proba(scaler.transform(X[held]))))
    head = LinearClassifier(Cs=Cs, tol=1e-7)
    head.fit(X[train], y[train], validation=(X[held], y[held]))
    assert Cs[int(np.argmin(losses))] == head.C_
    found = [point["log_loss"] for point in head.C_path_]
    np.testing.assert_allclose(found, losses[: len(found)], rtol=1e-3)
    on_all = LinearClassifier(C=head.C_, tol=1e-7).fit(X, y)
    np.testing.assert_allclose(head.coef_, on_all.coef_, atol=1e-6)


def test_the_path_leaves_no_trace_in_the_final_fit():
    X, y = data()
    tuned = LinearClassifier().fit(X, y)
    fixed = LinearClassifier(C=tuned.C_).fit(X, y)
    np.testing.assert_array_equal(tuned.coef_, fixed.coef_)


def test_the_path_reports_what_it_did():
    X, y = data()
    head = LinearClassifier(n_candidates=5).fit(X, y)
    Cs = [point["C"] for point in head.C_path_]
    np.testing.assert_allclose(Cs, np.geomspace(1e-5, 100, 5)[: len(Cs)])
    best = min(head.C_path_, key=lambda point: point["log_loss"])
    assert best["C"] == head.C_
    assert all(0 <= point["accuracy"] <= 1 and point["converged"] for point in head.C_path_)


def test_ties_go_to_the_smallest_C():
    X, y = data()
    # So loose a tolerance that the solver never moves: every candidate scores the same.
    head = LinearClassifier(Cs=[0.1, 1.0, 10.0], tol=100.0).fit(X, y)
    assert len({point["log_loss"] for point in head.C_path_}) == 1
    assert head.C_ == 0.1


@pytest.mark.parametrize(
    ("Cs", "copies", "edge"), [([1e-4, 1e-3], 20, True), ([1e-6, 0.05, 1e3], 1, False)]
)
def test_an_edge_is_reported(Cs, copies, edge, caplog):
    X, y = data(40)
    with caplog.at_level(logging.INFO, logger="transferkit"):
        head = LinearClassifier(Cs=Cs).fit(np.tile(X, (copies, 1)), np.tile(y, copies))
    assert head.C_on_edge_ is edge
    assert ("a wider Cs may do better" in caplog.text) is edge


def test_no_wider_path_is_advised_where_there_is_nothing_to_learn(caplog):
    n_on_edge = 0
    with caplog.at_level(logging.WARNING, logger="transferkit"):
        for seed in range(5):
            random = np.random.default_rng(seed)
            X = random.normal(size=(400, 20))
            head = LinearClassifier().fit(X, random.integers(0, 4, 400))
            several = LinearClassifier().fit(X, random.integers(0, 2, (400, 3)))
            n_on_edge += head.C_on_edge_ + several.C_on_edge_.sum()
    assert n_on_edge > 5  # of 20: the classes' shares are all there is to know
    assert caplog.text == ""


def test_no_wider_path_is_advised_where_it_is_flat(caplog):
    """Classes far apart: every C of these is as good as any other."""
    X, y = data(40)
    with caplog.at_level(logging.WARNING, logger="transferkit"):
        head = LinearClassifier(Cs=[1e6, 2e6]).fit(100 * X, y)
    assert head.C_on_edge_
    assert caplog.text == ""


def test_too_few_samples_to_tune(caplog):
    X = np.eye(3, 5)
    with caplog.at_level(logging.INFO, logger="transferkit"):
        head = LinearClassifier().fit(X, ["a", "b", "c"])
    assert head.C_ == C_WITHOUT_HOLDOUT
    assert head.C_path_ == []
    assert "not tuned" in caplog.text
    assert head.predict(X).tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6, -3e4])
def test_constant_features_have_no_coefficient(dtype, value):
    X, y = data()
    X = X.astype(dtype)
    X[:, 3] = value
    head = LinearClassifier().fit(X, y)
    assert (head.coef_[:, 3] == 0).all()
    without = LinearClassifier().fit(np.delete(X, 3, axis=1), y)
    np.testing.assert_allclose(
        head.predict_proba(X), without.predict_proba(np.delete(X, 3, axis=1)), atol=2e-3
    )


def test_features_far_from_zero_in_float32():
    X, y = data()
    X = X.astype(np.float32)
    near, far = (LinearClassifier(C=0.1).fit(X + s, y) for s in (np.float32(0), np.float32(1000)))
    np.testing.assert_allclose(near.predict_proba(X), far.predict_proba(X + 1000), atol=5e-3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_float32_stays_float32(dtype):
    X, y = data()
    head = LinearClassifier(C=1.0).fit(X.astype(dtype), y)
    assert head.coef_.dtype == head.intercept_.dtype == np.float32
    assert head.predict_proba(X.astype(dtype)).dtype == np.float32


def test_binary_has_one_row_of_coefficients():
    X, y = data(n_classes=2)
    head = LinearClassifier().fit(X, y)
    assert head.coef_.shape == (1, 12)
    assert head.intercept_.shape == (1,)
    assert head.decision_function(X).shape == (len(X),)


def test_one_warning_of_our_own_without_convergence():
    X, y = data()
    with pytest.warns(ConvergenceWarning, match="did not converge in .* raise max_iter") as caught:
        head = LinearClassifier(max_iter=2).fit(X, y)
    assert len(caught) == 1
    assert not head.converged_
    assert not all(point["converged"] for point in head.C_path_)


def test_no_warning_where_only_the_path_failed():
    X = data(60)[0]
    y = np.arange(60) % 2  # says nothing about X, so that the strongest penalty is best
    # Enough iterations for C = 1e-3, too few for C = 1e5.
    iterations = LinearClassifier(C=1e-3, tol=1e-6).fit(X, y).n_iter_
    head = LinearClassifier(Cs=[1e-3, 1e5], tol=1e-6, max_iter=iterations + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head.fit(X, y)
    assert head.C_ == 1e-3
    assert head.converged_
    assert not head.C_path_[-1]["converged"]


def test_a_class_known_to_validation_only():
    X, y = data(n_classes=3)
    train, held = y < 2, np.arange(len(y)) % 2 == 0
    head = LinearClassifier().fit(X[train], y[train], validation=(X[held], y[held]))
    assert head.classes_.tolist() == [0, 1, 2]
    assert head.coef_.shape == (3, 12)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"C": 0}, r"C is 0; give \"auto\" or a number above 0"),
        ({"C": "best"}, r"C is 'best'; give \"auto\" or a number above 0"),
        ({"C": float("nan")}, "C is nan; give"),
        ({"n_candidates": 2.5}, "n_candidates is 2.5; give a whole number above 0"),
        ({"Cs": []}, "Cs is empty; give at least one number above 0"),
        ({"Cs": [1, -1]}, "an entry of Cs is -1; give a number above 0"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0; give a number between 0 and 1"),
        ({"max_iter": 0}, "max_iter is 0; give a whole number above 0"),
        ({"tol": True}, "tol is True; give a number above 0"),
    ],
)
def test_bad_parameters(parameters, message):
    X, y = data()
    with pytest.raises(ValueError, match=message):
        LinearClassifier(**parameters).fit(X, y)


def test_bad_data():
    X, y = data()
    with pytest.raises(ValueError, match="y holds one class, 'a'; give samples of at least two"):
        LinearClassifier().fit(X, np.full(len(X), "a"))
    with pytest.raises(ValueError, match=r"validation must be a pair \(X, y\)"):
        LinearClassifier().fit(X, y, validation=X)
    with pytest.raises(ValueError, match="validation has 200 rows of X and 3 labels"):
        LinearClassifier().fit(X, y, validation=(X, y[:3]))
    with pytest.raises(ValueError, match="give labels of the same type"):
        LinearClassifier().fit(X, y, validation=(X, y.astype(str)))
    with pytest.raises(ValueError, match="sample_weight must be 0 or more"):
        LinearClassifier().fit(X, y, sample_weight=-np.ones(len(y)))
    with pytest.raises(ValueError, match="NaN"):
        LinearClassifier().fit(np.where(X > 3, np.nan, X), y)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_in_a_file_are_read_block_by_block(dtype, tmp_path, monkeypatch):
    X, y = problem(n=3000, d=16)
    X = X.astype(dtype)
    np.save(tmp_path / "X.npy", X)
    expected = LinearClassifier(C=1.0).fit(X.astype(np.float32), y)
    monkeypatch.setattr("transferkit.solvers.rows.BLOCK", 5000)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    problems = LinearProblems.logistic(
        [(mapped, np.arange(100)), (mapped, np.arange(100, 3000))], y
    )
    assert not problems.rows.is_in_memory
    head = LinearClassifier(C=1.0).fit(mapped, y)
    np.testing.assert_allclose(head.coef_, expected.coef_, atol=1e-4)
    np.testing.assert_allclose(
        head.predict_proba(mapped), expected.predict_proba(X.astype(np.float32)), atol=1e-4
    )
    held = LinearClassifier().fit(mapped[:2000], y[:2000], validation=(mapped[2000:], y[2000:]))
    whole = LinearClassifier().fit(
        X[:2000].astype(np.float32), y[:2000], validation=(X[2000:].astype(np.float32), y[2000:])
    )
    assert held.C_ == whole.C_
    np.testing.assert_allclose(held.coef_, whole.coef_, atol=1e-3)


def test_several_labels_equal_single_ones():
    X, _ = problem()
    Y = (X[:, :3] + np.random.default_rng(1).normal(size=(len(X), 3)) > [0, 0.5, 1]).astype(int)
    together = LinearClassifier(C=0.5, tol=1e-9).fit(X, Y)
    for j in range(3):
        alone = LinearClassifier(C=0.5, tol=1e-9).fit(X, Y[:, j])
        np.testing.assert_allclose(together.coef_[j], alone.coef_[0], atol=1e-6)
    tuned = LinearClassifier(tol=1e-6).fit(X, Y)
    for j in range(3):
        alone = LinearClassifier(tol=1e-6).fit(X, Y[:, j])
        assert tuned.C_[j] == alone.C_
        np.testing.assert_allclose(tuned.coef_[j], alone.coef_[0], atol=1e-4)


def test_folds_choose_C():
    X, y = problem(n=150)
    head = LinearClassifier(folds=5, n_candidates=6).fit(X, y)
    assert len(head.C_path_) == 6
    assert min(head.C_path_, key=lambda point: point["log_loss"])["C"] == head.C_
    with pytest.raises(ValueError, match="folds is 1; give None or a whole number above 1"):
        LinearClassifier(folds=1).fit(X, y)


def test_label_smoothing_is_a_mixture_of_targets():
    X, y = problem()
    smoothed = LinearClassifier(C=1.0, label_smoothing=0.3, tol=1e-9).fit(X, y)
    # The same as every row with every label, weighted by the smoothed target.
    weight = np.where(np.arange(3) == y[:, None], 0.8, 0.1)
    rows, labels = np.repeat(X, 3, axis=0), np.tile(np.arange(3), len(y))
    mixed = LinearClassifier(C=1.0, tol=1e-9).fit(rows, labels, sample_weight=weight.ravel())
    np.testing.assert_allclose(smoothed.coef_, mixed.coef_, atol=1e-6)
    two = y == 0
    smoothed = LinearClassifier(C=1.0, label_smoothing=0.3, tol=1e-9).fit(X, two)
    weight = np.where(np.arange(2) == two[:, None], 0.85, 0.15)
    rows, labels = np.repeat(X, 2, axis=0), np.tile(np.arange(2), len(y))
    mixed = LinearClassifier(C=1.0, tol=1e-9).fit(rows, labels, sample_weight=weight.ravel())
    np.testing.assert_allclose(smoothed.coef_, mixed.coef_, atol=1e-6)


@pytest.mark.parametrize("d", [12, 500])
def test_a_warm_start_is_at_the_goal(d):
    X, y = problem(d=d)
    head = LinearClassifier(C=1.0, tol=1e-5, warm_start=True).fit(X, y)
    cold, first = head.coef_, head.n_iter_
    head.fit(X, y)
    assert head.n_iter_ == 0 < first
    np.testing.assert_allclose(head.coef_, cold, atol=1e-6)
    assert head.fit(X[:, :5], y).coef_.shape == (3, 5)


def test_a_fit_reports_how_it_was_solved():
    X, y = problem(d=5)
    head = LinearClassifier(C=2.0, tol=1e-8, standardize=False).fit(X, y)
    model = reference(X, y, 2.0)
    losses = -model.predict_log_proba(X)[np.arange(len(y)), y]
    assert head.objective_ == pytest.approx(2 * losses.sum() + (model.coef_**2).sum() / 2)
    assert head.gradient_ <= 1e-8
    assert head.gap_ <= 1e-8
    path = LinearClassifier(n_candidates=4).fit(X, y).C_path_
    assert all(point["gap"] <= 5e-4 and point["objective"] > 0 for point in path)
