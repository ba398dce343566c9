import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR

from transferkit.heads.svm import SVMClassifier, SVMRegressor
from transferkit.solvers.linear import LinearProblems


def data(n_classes=3, n=150):
    return make_classification(
        n, 8, n_informative=6, n_redundant=0, n_classes=n_classes, random_state=0
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_few_rows_go_to_svc(n_classes):
    X, y = data(n_classes)
    head = SVMClassifier().fit(X, y)
    scaled = StandardScaler().fit_transform(X)
    plain = SVC(C=10, gamma=1 / 8).fit(scaled, y)
    assert head.solver_ == "exact"
    np.testing.assert_allclose(head.decision_function(X), plain.decision_function(scaled))
    y = X[:, 0] * 3 + 7
    target = StandardScaler().fit_transform(y[:, None])[:, 0]
    plain = SVR(C=10, gamma=1 / 8).fit(scaled, target)
    expected = plain.predict(scaled) * y.std() + y.mean()
    np.testing.assert_allclose(SVMRegressor().fit(X, y).predict(X), expected)


@pytest.mark.parametrize(("n_whole", "solver"), [(15_000, "squares"), (0, "nystroem")])
def test_more_rows_are_fitted_by_least_squares(n_whole, solver):
    X, y = data()
    few = {"n_exact": 0, "n_whole": n_whole, "n_landmarks": len(X)}
    head = SVMClassifier(**few).fit(X, y)
    assert head.solver_ == solver
    assert min(head.C_path_, key=lambda point: point["loss"])["C"] == head.C_
    assert (head.predict(X) == SVMClassifier().fit(X, y).predict(X)).mean() > 0.93
    # The training rows can be placed anew, so what was fitted is what predicts.
    again = SVMClassifier(C=head.C_, **few).fit(X, y)
    np.testing.assert_allclose(again.decision_function(X), head.decision_function(X))
    assert SVMRegressor(**few).fit(X, X[:, 0]).score(X, X[:, 0]) > 0.9


def test_both_ways_of_least_squares_agree():
    X, y = data(2)
    options = {"n_exact": 0, "C": 1.0, "tol": 1e-12}
    whole = SVMClassifier(**options).fit(X, y)
    landmarks = SVMClassifier(n_whole=0, **options).fit(X, y)
    np.testing.assert_allclose(
        landmarks.decision_function(X), whole.decision_function(X), atol=1e-4
    )


def test_least_squares_on_a_validation_part():
    X, y = data()
    head = SVMClassifier(n_exact=0).fit(X[:100], y[:100], validation=(X[100:], y[100:]))
    assert len(head.landmarks_) == len(X)
    assert len(head.C_path_) == 8


def test_the_hinge_is_liblinears():
    X, y = data(2)
    plain = LinearSVC(C=0.1, tol=1e-8, max_iter=100_000, intercept_scaling=1000).fit(X, y)
    found = LinearProblems.margins(X, 2.0 * y[:, None] - 1).solve(0.1, tol=1e-9, max_iter=1000)
    np.testing.assert_allclose(found.coef, plain.coef_, atol=1e-4)
    np.testing.assert_allclose(found.intercept, plain.intercept_, atol=1e-3)


def test_the_insensitive_loss_is_liblinears():
    X, _ = data()
    y = X[:, 0] + 0.3 * X[:, 1] ** 2
    plain = LinearSVR(
        C=0.1, epsilon=0.1, loss="squared_epsilon_insensitive", tol=1e-8, max_iter=100_000,
        intercept_scaling=1000,
    ).fit(X, y)  # fmt: skip
    problems = LinearProblems.margins(X, y[:, None], epsilon=0.1)
    found = problems.solve(0.1, tol=1e-9, max_iter=1000)
    np.testing.assert_allclose(found.coef[0], plain.coef_, atol=1e-4)


def test_weights_are_repetitions_in_the_linear_machine():
    X, y = data()
    weight = np.arange(len(X)) % 3
    options = {"kernel": "linear", "C": 0.1, "tol": 1e-8}
    weighted = SVMClassifier(**options).fit(X, y, sample_weight=weight)
    repeated = SVMClassifier(**options).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-5)


def test_the_chosen_C_has_the_smallest_loss():
    X, y = data()
    head = SVMClassifier("linear").fit(X, y)
    assert min(head.C_path_, key=lambda point: point["loss"])["C"] == head.C_
    fixed = SVMClassifier("linear", C=head.C_).fit(X, y)
    np.testing.assert_array_equal(head.coef_, fixed.coef_)
    assert fixed.C_path_ == []


def test_probabilities_only_on_request():
    X, y = data()
    assert not hasattr(SVMClassifier().fit(X, y), "predict_proba")
    head = SVMClassifier(probability=True).fit(X, y)
    proba = head.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert (proba.argmax(axis=1) == head.predict(X)).all()
    with pytest.raises(ValueError, match="probability is True, and a class has a single sample"):
        head.fit(X[:3], [0, 1, 1])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kernel": "rfb"}, "unknown kernel 'rfb'; did you mean 'rbf'"),
        ({"C": -1}, r'C is -1; give "auto" or a number above 0'),
        ({"n_whole": -1}, "n_whole is -1; give 0 or a whole number above 0"),
        ({"gamma": 0}, r'gamma is 0; give "scale" or a number above 0'),
        ({"validation_fraction": 1}, "validation_fraction is 1; give a number between 0 and 1"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        SVMClassifier(**parameters).fit(*data())
