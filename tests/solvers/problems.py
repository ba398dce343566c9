"""Random problems, and scikit-learn's solutions of them."""

import numpy as np
from sklearn.linear_model import LogisticRegression

TIGHT = {"tol": 1e-9, "max_iter": 200}


def problem(n=200, d=12, n_classes=3, noise=1.0, seed=0):
    """Random rows and labels; every class occurs, and without noise they are separable."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    scores = X @ rng.normal(size=(d, n_classes)) + noise * rng.gumbel(size=(n, n_classes))
    y = scores.argmax(axis=1)
    y[:n_classes] = np.arange(n_classes)
    return X, y


def reference(X, y, C, weight=None):
    model = LogisticRegression(C=C, tol=1e-10, max_iter=100_000)
    return model.fit(X, y, sample_weight=weight)


def agree(found, expected, rtol=1e-4):
    """Within rtol of the largest."""
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=rtol)
