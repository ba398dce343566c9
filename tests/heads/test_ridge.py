import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.preprocessing import StandardScaler

from transferkit.heads import linear
from transferkit.heads.ridge import RidgeClassifier, RidgeRegressor


def data(n=60, d=8, k=2):
    rng = np.random.default_rng(0)
    X = 3 * rng.normal(size=(n, d)) + np.arange(d)
    return X, X @ rng.normal(size=(d, k)) + 10 * rng.normal(size=(n, k)) + 50


@pytest.mark.parametrize("shape", [(60, 8), (20, 50)])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_scikit_learn_at_a_fixed_alpha(shape, weighted):
    X, Y = data(*shape)
    weight = np.arange(len(X)) % 4 + 1.0 if weighted else None
    head = RidgeRegressor(alpha=3.0).fit(X, Y, weight)
    scaler = StandardScaler().fit(X, sample_weight=weight)
    plain = Ridge(alpha=3.0).fit(scaler.transform(X), Y, weight)
    np.testing.assert_allclose(head.predict(X), plain.predict(scaler.transform(X)), rtol=1e-9)


@pytest.mark.parametrize("shape", [(40, 8), (20, 50)])
def test_the_error_is_that_of_leaving_rows_out_one_by_one(shape):
    X, Y = data(*shape, k=1)
    head = RidgeRegressor(alphas=[0.5, 5.0, 50.0], standardize=False).fit(X, Y[:, 0])
    for point in head.alpha_path_:
        left_out = cross_val_predict(Ridge(alpha=point["alpha"]), X, Y[:, 0], cv=LeaveOneOut())
        error = ((left_out - Y[:, 0]) ** 2).mean() / Y.var()
        assert point["error"] == pytest.approx(error, rel=1e-6)
    plain = RidgeCV(alphas=[0.5, 5.0, 50.0]).fit(X, Y[:, 0])
    assert head.alpha_ == plain.alpha_
    assert head.alpha_on_edge_ == (head.alpha_ in (0.5, 50.0))


def test_weights_are_repetitions():
    X, Y = data()
    weight = np.arange(len(X)) % 3
    weighted = RidgeRegressor(alpha=2.0).fit(X, Y, weight)
    repeated = RidgeRegressor(alpha=2.0).fit(
        np.repeat(X, weight, axis=0), np.repeat(Y, weight, axis=0)
    )
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-9)


def test_a_constant_feature_has_no_coefficient():
    X, Y = data()
    X[:, 3] = 0.1
    assert (RidgeRegressor().fit(X.astype(np.float32), Y).coef_[:, 3] == 0).all()


def test_linear_regression_is_ridge():
    assert linear.Regressor is RidgeRegressor


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": 0}, r"alpha is 0; give \"auto\" or a number above 0"),
        ({"alphas": []}, "alphas is empty; give at least one number above 0"),
        ({"alphas": [1, -1]}, "an entry of alphas is -1; give a number above 0"),
    ],
)
def test_bad_parameters(parameters, message):
    X, Y = data()
    for head in (RidgeRegressor(**parameters), RidgeClassifier(**parameters)):
        with pytest.raises(ValueError, match=message):
            head.fit(X, Y[:, 0] > 50)
