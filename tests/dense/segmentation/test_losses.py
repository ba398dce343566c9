"""Losses of segmentation against plain loops over pixels."""

import math

import numpy as np
import pytest
import torch

from transferkit.annotations import VOID
from transferkit.dense.segmentation import _losses, class_weights_of, create_loss

WEIGHTS = [0.5, 1.0, 2.5]


def batch(size=(5, 7), n_classes=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, n_classes, *size, generator=draw, dtype=torch.float64)
    target = torch.randint(VOID, n_classes, (2, *size), generator=draw)
    return scores.requires_grad_(), target


def pixels(scores, target):
    """Probabilities and class of each pixel that has one."""
    for image, classes in zip(scores.detach().numpy(), target.numpy(), strict=True):
        for y, x in np.argwhere(classes != VOID):
            powers = np.exp(image[:, y, x])
            yield powers / powers.sum(), int(classes[y, x])


def plain_cross_entropy(scores, target, weights, smoothing):
    total = norm = 0.0
    for sure, true in pixels(scores, target):
        wanted = (1 - smoothing) * np.eye(len(sure))[true] + smoothing / len(sure)
        total -= sum(w * q * math.log(p) for w, q, p in zip(weights, wanted, sure, strict=True))
        norm += weights[true]
    return total / norm


def plain_focal(scores, target, weights, smoothing):
    total = norm = 0.0
    for sure, true in pixels(scores, target):
        wanted = (1 - smoothing) * np.eye(len(sure))[true] + smoothing / len(sure)
        total -= weights[true] * (1 - sure[true]) ** 2 * (wanted * np.log(sure)).sum()
        norm += weights[true]
    return total / norm


def plain_dice(scores, target, weights, smoothing):
    found = list(pixels(scores, target))
    total = norm = 0.0
    for c, weight in enumerate(weights):
        n_true = sum(true == c for _, true in found)
        if n_true:
            both = sum(sure[c] for sure, true in found if true == c)
            total += weight * 2 * both / (n_true + sum(sure[c] for sure, _ in found))
            norm += weight
    return 1 - total / norm


PLAIN = {"cross-entropy": plain_cross_entropy, "focal": plain_focal, "dice": plain_dice}


def test_every_loss_has_a_plain_one():
    assert set(_losses.LOSSES) == set(PLAIN)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_loss_is_that_of_a_loop_over_pixels(name, weights, smoothing):
    scores, target = batch()
    given = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    loss = create_loss(name, class_weights=given, label_smoothing=smoothing)(scores, target)
    expected = PLAIN[name](scores, target, weights or [1.0] * 3, smoothing)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_a_sum_is_the_sum():
    scores, target = batch()
    parts = [create_loss(name)(scores, target).item() for name in ("focal", "dice")]
    assert create_loss("focal + dice")(scores, target).item() == pytest.approx(sum(parts))


@pytest.mark.parametrize("name", [*PLAIN, "cross-entropy+dice"])
def test_void_alone_gives_zero_and_no_gradient_elsewhere(name):
    scores, target = batch()
    loss = create_loss(name)(scores, torch.full_like(target, VOID))
    loss.backward()
    assert loss.item() == 0
    assert not scores.grad.any()


@pytest.mark.parametrize("name", [*PLAIN, "cross-entropy+dice"])
def test_void_pixels_change_nothing(name):
    scores, target = batch()
    other = scores.detach().clone()
    other.movedim(1, -1)[target == VOID] = 50.0
    losses = [create_loss(name)(each, target).item() for each in (scores, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


@pytest.mark.parametrize("name", [*PLAIN, "cross-entropy+dice"])
def test_a_gradient_step_makes_a_loss_smaller_though_a_class_is_absent(name):
    scores, target = batch()
    target[target == 2] = 0
    criterion = create_loss(name)
    loss = criterion(scores, target)
    loss.backward()
    assert torch.isfinite(scores.grad).all()
    assert criterion(scores - 0.1 * scores.grad, target) < loss


def test_scores_are_resized_to_the_target():
    scores, _ = batch((3, 4))
    target = batch((9, 11))[1]
    fine = torch.nn.functional.interpolate(scores, (9, 11), mode="bilinear")
    loss = create_loss("cross-entropy")
    assert loss(scores, target).item() == pytest.approx(loss(fine, target).item(), rel=1e-12)


def test_many_classes_are_compared_at_the_size_of_the_scores(monkeypatch):
    scores, small = batch((3, 4))
    # Each px of the scores stands for 3 × 3 px, whose middle one has the class that counts.
    target = torch.full((2, 9, 12), VOID)
    target[:, 1::3, 1::3] = small
    monkeypatch.setattr(_losses, "_AT_ONCE", 0)
    loss = create_loss("cross-entropy+dice")
    assert loss(scores, target).item() == pytest.approx(loss(scores, small).item(), rel=1e-12)


def test_two_hundred_classes_of_a_large_image_take_little_memory():
    scores = torch.zeros(1, 200, 16, 16, requires_grad=True)
    target = torch.arange(1024 * 1024).reshape(1, 1024, 1024) % 200
    loss = create_loss("cross-entropy+dice")(scores, target)  # 800 MB at full size
    loss.backward()
    assert loss.item() == pytest.approx(math.log(200) + 1 - 1 / 100, abs=0.02)
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize(("how", "power"), [("root", 0.5), ("balanced", 1.0)])
def test_weights_fall_with_the_pixels(how, power):
    weights = class_weights_of([400, 100, 0], how)
    assert weights[1] / weights[0] == pytest.approx(4**power)
    assert weights[:2].mean() == pytest.approx(1)
    assert weights[2] == 1


def test_errors_say_what_is_allowed():
    assert class_weights_of([1, 2], "none") is None
    with pytest.raises(ValueError, match="balanced"):
        class_weights_of([1, 2], "balance")
    with pytest.raises(ValueError, match="dice"):
        create_loss("cross-entropy+dise")
    with pytest.raises(ValueError, match="label_smoothing is 1"):
        create_loss("dice", label_smoothing=1)
