import re

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, r2_score

from transferkit.finetune.head import fitted_head, head_weights, scaled_to_loss
from transferkit.finetune.objective import choose_objective
from transferkit.finetune.recipe import Recipe
from transferkit.heads import create_head

pytestmark = pytest.mark.finetuning

RNG = np.random.default_rng(0)


def objective(task, y, classes=(), **settings):
    recipe = Recipe(epochs=1, batch_size=1, **{"label_smoothing": 0.0, **settings})
    return choose_objective(task, y, recipe, np.array(classes))


def test_losses_equal_scikit_learns():
    y = RNG.integers(0, 3, 20)
    scores = torch.tensor(RNG.normal(size=(20, 3)), dtype=torch.float32)
    found = objective("classification", y, list("abc"))
    loss = float(found.loss(scores, found.encode(y)))
    assert loss == pytest.approx(log_loss(y, scores.double().softmax(1)), rel=1e-5)
    accuracy = np.mean(scores.argmax(1).numpy() == y)
    assert found.metric(scores, found.encode(y)) == pytest.approx(accuracy)
    numbers = RNG.normal(5, 2, (20, 2))
    found = objective("regression", numbers)
    outputs = found.encode(numbers) + 0.1
    predicted = outputs.numpy() * found.scale + found.mean
    assert found.metric(outputs, found.encode(numbers)) == pytest.approx(
        r2_score(numbers, predicted), rel=1e-4
    )
    several = RNG.integers(0, 2, (20, 2))
    found = objective("multilabel", several)
    scores = torch.zeros(20, 2)
    assert float(found.loss(scores, found.encode(several))) == pytest.approx(np.log(2))


def test_targets_of_a_regression_are_standardised():
    numbers = RNG.normal(5, 20, (50, 2)) * [1, 1000]
    rows = objective("regression", numbers).encode(numbers)
    torch.testing.assert_close(rows.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)
    # A held-out part is measured on the training part's scale.
    torch.testing.assert_close(objective("regression", numbers).encode(numbers[:3]), rows[:3])


def test_r2_of_equal_numbers_is_by_the_training_parts_variance():
    found = objective("regression", np.array([0.0, 10.0]))  # deviation 5
    outputs = found.encode(np.array([7.0, 7.0]))
    assert found.metric(outputs, found.encode(np.array([2.0, 2.0]))) == pytest.approx(0)
    assert found.metric(outputs[:1], found.encode(np.array([7.0]))) == pytest.approx(1)


def test_equal_numbers_have_no_deviation():
    for value in (0.1, 1e8 / 3, 0.0):
        found = objective("regression", np.full(10, value))
        assert found.scale.tolist() == [1]
        np.testing.assert_allclose(found.encode(np.full(10, value)), 0, atol=1e-6)
    apart = 1e8 + np.arange(10) * 1e-3
    assert objective("regression", apart).scale[0] == pytest.approx(np.std(np.arange(10)) * 1e-3)


def test_metrics_are_those_of_scikit_learn():
    several = RNG.integers(0, 2, (20, 3))
    scores = torch.tensor(RNG.normal(size=(20, 3)), dtype=torch.float32)
    found = objective("multilabel", several)
    right = np.mean((scores.numpy() > 0) == several)
    assert found.metric(scores, found.encode(several)) == pytest.approx(right)
    proba = scores.double().sigmoid().numpy()
    losses = [log_loss(several[:, i], proba[:, i], labels=[0, 1]) for i in range(3)]
    assert float(found.loss(scores, found.encode(several))) == pytest.approx(np.mean(losses))


def test_epochs_are_compared_without_class_weights_and_with_smoothing():
    y = np.array([0] * 9 + [1])
    scores = torch.tensor(RNG.normal(size=(10, 2)), dtype=torch.float32)
    weighted = objective("classification", y, ["a", "b"], class_weight={"b": 9},
                         label_smoothing=0.2)  # fmt: skip
    smooth = objective("classification", y, ["a", "b"], label_smoothing=0.2)
    targets = smooth.encode(y)
    assert weighted.plain_loss(scores, targets) == pytest.approx(
        float(smooth.loss(scores, targets))
    )
    assert weighted.plain_loss(scores, targets) != pytest.approx(
        float(weighted.loss(scores, targets)), rel=1e-3
    )
    # Of a target the share goes to all classes alike.
    log_proba = scores.double().log_softmax(1)
    mixed = 0.8 * log_proba[np.arange(10), y] + 0.1 * log_proba.sum(1)
    assert float(smooth.loss(scores, targets)) == pytest.approx(float(-mixed.mean()), rel=1e-5)


def test_class_weights():
    y = np.array([0] * 9 + [1])
    balanced = objective("classification", y, ["a", "b"], class_weight="balanced")
    np.testing.assert_allclose(balanced.weights, [10 / 18, 10 / 2])
    named = objective("classification", y, ["a", "b"], class_weight={"b": 3})
    # Of an image's loss on average 1; what is given is their ratio.
    np.testing.assert_allclose(named.weights, np.array([1, 3]) / (12 / 10), rtol=1e-6)


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        ("classification", {"class_weight": {"z": 1}}, "class_weight names 'z', which is no class"),
        ("classification", {"class_weight": 3}, "class_weight is 3; give 'balanced' or a weight"),
        ("classification", {"class_weight": {"a": -1}}, "class_weight of 'a' is -1; give a number"),
        (
            "classification",
            {"class_weight": {"a": "2"}},
            "class_weight of 'a' is '2'; give a numbe",
        ),
        ("classification", {"class_weight": {"a": 0, "b": 0}}, "class_weight is 0 for every class"),
        ("regression", {"mixup": 0.1}, "mixup is for classes, one per image; leave it out"),
        ("regression", {"sampling": "balanced"}, "sampling 'balanced' is for classes"),
    ],
)
def test_what_a_task_has_no_use_for(task, settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        objective(task, np.array([0, 1]), ["a", "b"], **settings)


@pytest.mark.parametrize("kind", ["two classes", "classes", "labels", "number", "numbers"])
def test_a_head_comes_back_as_it_was(kind):
    X = RNG.normal(size=(40, 4)).astype(np.float32)
    y = {
        "two classes": RNG.integers(0, 2, 40),
        "classes": np.arange(40) % 3,
        "labels": RNG.integers(0, 2, (40, 3)),
        "number": X[:, 0] * 7 + 3,
        "numbers": X[:, :2] * 7 + 3,
    }[kind]
    task = {"labels": "multilabel", "number": "regression", "numbers": "regression"}.get(
        kind, "classification"
    )
    found = objective(task, y, np.unique(y))
    is_regression = task == "regression"
    options = {} if is_regression else {"C": 0.1}
    head = create_head("linear", "regression" if is_regression else "classification", **options)
    head.fit(X, y)
    coef, intercept = head_weights(head, found)
    assert coef.shape == (found.n_outputs, 4)
    again = fitted_head(coef, intercept, found, flat=y.ndim == 1)
    assert again.predict(X).shape == head.predict(X).shape
    if is_regression:
        np.testing.assert_allclose(again.predict(X), head.predict(X), rtol=1e-4)
    else:
        np.testing.assert_allclose(again.predict_proba(X), head.predict_proba(X), atol=1e-5)
        scores = torch.from_numpy(X) @ coef.T + intercept
        proba = scores.sigmoid() if kind == "labels" else scores.softmax(1)
        np.testing.assert_allclose(proba, head.predict_proba(X), atol=1e-5)


def test_a_scaled_head_predicts_the_same_and_is_less_sure():
    X = RNG.normal(size=(30, 4)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    found = objective("classification", y, [0, 1], label_smoothing=0.1)
    coef, intercept = torch.tensor([[-300.0, 0, 0, 0], [300, 0, 0, 0]]), torch.zeros(2)
    targets = found.encode(y)
    scaled = scaled_to_loss(coef, intercept, X, targets, found)
    before, after = (torch.from_numpy(X) @ c.T + b for c, b in ((coef, intercept), scaled))
    assert torch.equal(before.argmax(1), after.argmax(1))
    assert found.plain_loss(after, targets) < 0.1 * found.plain_loss(before, targets)
    numbers = objective("regression", X[:, :1])
    assert scaled_to_loss(coef, intercept, X, targets, numbers) == (coef, intercept)
