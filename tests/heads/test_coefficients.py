import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, PoissonRegressor, RidgeClassifier
from sklearn.svm import SVC, LinearSVC

from transferkit.heads import create_head, linear_map

X = np.random.default_rng(0).normal(size=(60, 5)) * [1, 10, 0.1, 3, 1] + [0, 5, 100, 0, -3]
CODES = np.arange(60) % 3


@pytest.mark.parametrize(
    "head",
    [
        create_head("linear", C=1.0),
        create_head("lda"),
        create_head("ridge"),
        create_head("svm", kernel="linear", C=1.0),
        create_head("svm", kernel="linear", C=1.0, probability=True),
        LinearSVC(),
        RidgeClassifier(),
    ],
)
def test_coefficients_give_the_scores(head):
    head.fit(X, CODES)
    coef, intercept = linear_map(head)
    assert coef.shape == (3, 5)
    assert np.allclose(X @ coef.T + intercept, head.decision_function(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "head",
    [
        create_head("ridge", "regression"),
        create_head("svm", "regression", kernel="linear", C=1.0),
        LinearRegression(),
    ],
)
def test_coefficients_give_the_numbers(head):
    head.fit(X, 1000 + X @ np.arange(5.0))
    coef, intercept = linear_map(head)
    assert np.allclose((X @ coef.T + intercept)[:, 0], head.predict(X), rtol=1e-6)


@pytest.mark.parametrize("head", [SVC(), SVC(kernel="linear"), PoissonRegressor()])
def test_others_have_none(head):
    assert linear_map(head.fit(X, CODES)) is None
