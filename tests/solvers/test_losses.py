"""Losses against finite differences of their values and gradients."""

import warnings

import numpy as np
import pytest
import torch

from transferkit.solvers.losses import (
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    SquaredEpsilonInsensitive,
    SquaredHinge,
    log_softmax,
)


def losses(n=7, n_classes=3):
    rng = np.random.default_rng(0)
    weight = torch.tensor(rng.dirichlet(np.ones(n), size=2))
    signs = torch.tensor(rng.choice([-1.0, 1.0], size=(2, n)))
    codes = torch.tensor(rng.integers(n_classes, size=n))
    return {
        "softmax": SoftmaxCrossEntropy(codes, weight, n_classes),
        "smoothed": SoftmaxCrossEntropy(codes, weight, n_classes, 0.2),
        "sigmoid": SigmoidCrossEntropy(signs, weight),
        "smoothed sigmoid": SigmoidCrossEntropy(signs, weight, 0.2),
        "hinge": SquaredHinge(signs, weight),
        "insensitive": SquaredEpsilonInsensitive(0.7 * signs, weight, 0.1),
    }


@pytest.mark.parametrize("name", losses())
def test_derivatives_of_a_loss(name):
    loss, part = losses()[name], slice(0, 7)
    rng = np.random.default_rng(1)
    scores = torch.tensor(rng.normal(size=(2, loss.n_scores, 7)))
    change = torch.tensor(rng.normal(size=scores.shape))
    _, slope, state = loss.differentiate(scores.clone(), part)
    h = 1e-6
    up, slope_up, _ = loss.differentiate(scores + h * change, part)
    down, slope_down, _ = loss.differentiate(scores - h * change, part)
    expected = (slope * change).sum(dim=(1, 2))
    torch.testing.assert_close((up - down) / (2 * h), expected, rtol=1e-5, atol=1e-8)
    product = loss.hessian_product(change.clone(), state, part)
    torch.testing.assert_close(product, (slope_up - slope_down) / (2 * h), rtol=1e-5, atol=1e-8)
    unit = torch.zeros_like(scores)
    unit[:, 0] = 1
    diagonal = loss.hessian_product(unit, state, part)[:, 0].sum(dim=1)
    torch.testing.assert_close(loss.curvature(state, part)[:, 0], diagonal)


def test_softmax_keeps_the_digits_of_small_losses():
    weight = torch.ones(1, 1)
    scores = torch.tensor([[[30.0], [0.0], [-5.0]]])
    loss = SoftmaxCrossEntropy(torch.tensor([0]), weight, 3)
    value, slope, _ = loss.differentiate(scores, slice(0, 1))
    small = np.exp(-30.0) + np.exp(-35.0)
    assert float(value) == pytest.approx(small, rel=1e-5)
    assert float(slope[0, 0, 0]) == pytest.approx(-small, rel=1e-5)
    far = torch.tensor([[[-1e4], [0.0], [1e4]]])
    value, slope, _ = loss.differentiate(far, slice(0, 1))
    assert float(value) == pytest.approx(2e4)
    np.testing.assert_allclose(slope[0, :, 0], [-1, 0, 1])


def test_log_softmax_of_large_scores_is_finite():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log_proba = log_softmax(np.array([[1e5, 0.0, -1e5]], dtype=np.float32))
        two = log_softmax(np.array([-1e5, 0.0, 1e5]))
    np.testing.assert_array_equal(log_proba, [[0, -1e5, -2e5]])
    np.testing.assert_allclose(two[1], np.log(0.5))
    assert np.isfinite(two).all()
