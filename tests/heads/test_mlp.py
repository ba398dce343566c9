import numpy as np
import pytest
import torch

from transferkit.heads.mlp import MLPClassifier, MLPRegressor
from transferkit.solvers.perceptron import Perceptron, scores

SMALL = {"hidden": (32,), "dropout": 0.0, "learning_rate": 0.01, "device": "cpu"}


def xor(n=300, noise=0.0):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4)).astype(np.float32)
    y = (X[:, 0] > 0) ^ (X[:, 1] > 0)
    return X, np.where(rng.random(n) < noise, ~y, y)


def test_it_learns_what_no_linear_head_can():
    X, y = xor()
    assert MLPClassifier(**SMALL, max_epochs=60).fit(X, y).score(X, y) > 0.95
    product = X[:, 0] * X[:, 1]
    assert MLPRegressor(**SMALL, max_epochs=60).fit(X, product).score(X, product) > 0.9


def test_it_stops_early_and_keeps_the_best_weights():
    X, y = xor(noise=0.3)
    parts = (X[:200], y[:200]), (X[200:], y[200:])
    head = MLPClassifier(**SMALL, max_epochs=100, patience=5, label_smoothing=0.0, refit=False)
    head.fit(*parts[0], validation=parts[1])
    losses = head.validation_losses_
    assert len(losses) < 100
    assert head.n_epochs_ == int(np.argmin(losses)) + 1 == len(losses) - 5
    proba = head.predict_proba(parts[1][0])
    loss = -np.log(proba[np.arange(100), parts[1][1].astype(int)]).mean()
    assert loss == pytest.approx(min(losses), rel=1e-4)


def test_the_second_training_is_on_all_rows():
    X, y = xor()
    first = MLPClassifier(**SMALL, max_epochs=10, refit=False).fit(X, y)
    again = MLPClassifier(**SMALL, max_epochs=10).fit(X, y)
    assert again.n_epochs_ == first.n_epochs_
    np.testing.assert_allclose(again.mean_, X.mean(axis=0), atol=1e-6)
    assert (again.mean_ != first.mean_).any()


def test_torchs_own_generator_is_left_alone():
    X, y = xor(40)
    before = torch.get_rng_state()
    first = MLPClassifier(**SMALL, max_epochs=2).fit(X, y).predict_proba(X)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    second = MLPClassifier(**SMALL, max_epochs=2).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(first, second)
    other = MLPClassifier(**SMALL, max_epochs=2, random_state=1).fit(X, y).predict_proba(X)
    assert (other != first).any()


def test_dropout_drops_its_share_and_keeps_the_mean():
    options = MLPClassifier(dropout=0.2, device="cpu")._options(100, "softmax")
    net = Perceptron([3, 512, 2], options, torch.Generator())
    found = net.dropped(torch.ones(201, 301))  # not a multiple of the four units of a draw
    np.testing.assert_allclose(found.unique(), [0, 1.25])
    assert found.mean() == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(found.mean(dim=0), 1, atol=0.2)  # not the same units in each row
    np.testing.assert_allclose(found.mean(dim=1), 1, atol=0.2)
    options = MLPClassifier(dropout=1 - 1e-9, device="cpu")._options(100, "softmax")
    assert (
        Perceptron([3, 512, 2], options, torch.Generator()).dropped(torch.ones(9, 9)) == 0
    ).any()


def test_quick_products_train_as_well(monkeypatch):
    X, y = xor(2000)
    X = np.hstack([X, np.zeros((2000, 124), np.float32)])
    accuracies = []
    for quick in (torch.float32, torch.bfloat16):
        monkeypatch.setattr("transferkit.solvers.perceptron.quick_dtype", lambda device, q=quick: q)
        head = MLPClassifier(device="cpu", max_epochs=20).fit(X[:1000], y[:1000])
        assert all(matrix.dtype == np.float32 for matrix, _ in head.layers_)
        accuracies.append(head.score(X[1000:], y[1000:]))
    assert min(accuracies) > 0.9
    assert accuracies[1] == pytest.approx(accuracies[0], abs=0.03)


def test_automatic_sizes_grow_with_the_rows():
    chosen = [MLPClassifier(device="cpu")._options(n, "softmax") for n in (50, 2000, 10**6)]
    assert [options.batch_size for options in chosen] == [64, 200, 512]
    assert [options.max_epochs for options in chosen] == [100, 50, 12]
    rates = [options.learning_rate / options.batch_size**0.5 for options in chosen]
    np.testing.assert_allclose(rates, rates[0])
    given = MLPClassifier(batch_size=7, max_epochs=3, learning_rate=0.5, device="cpu")
    options = given._options(10**6, "softmax")
    assert (options.batch_size, options.max_epochs, options.learning_rate) == (7, 3, 0.5)


def test_numpy_computes_what_torch_does():
    X, y = xor(40)
    head = MLPClassifier(hidden=(8, 5), max_epochs=2, device="cpu").fit(X, y)
    out = torch.from_numpy(X)
    for number, (matrix, bias) in enumerate(head.layers_):
        out = torch.addmm(torch.from_numpy(bias), out, torch.from_numpy(matrix))
        out = torch.relu(out) if number < 2 else out
    np.testing.assert_allclose(scores(X, head.layers_), out.numpy(), atol=1e-5)


def test_no_hidden_layer_is_a_linear_model():
    X, _ = xor()
    head = MLPClassifier(hidden=(), learning_rate=0.05, max_epochs=30).fit(X, X[:, 0] > 0)
    assert len(head.layers_) == 1
    assert head.score(X, X[:, 0] > 0) > 0.95


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden": (0,)}, "an entry of hidden is 0; give a whole number above 0"),
        ({"dropout": 1.0}, "dropout is 1.0; give a number between 0 and 1, 0 included"),
        ({"learning_rate": 0}, r'learning_rate is 0; give "auto" or a number above 0'),
        ({"batch_size": "all"}, r"batch_size is 'all'; give \"auto\" or a whole number above 0"),
        ({"max_epochs": 1.5}, r'max_epochs is 1.5; give "auto" or a whole number above 0'),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1; give a number between 0 and 1"),
        ({"weight_decay": -1}, "weight_decay is -1; give 0 or a number above 0"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**parameters).fit(*xor(20))
