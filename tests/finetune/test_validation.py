"""What is held out to choose the best epoch."""

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from transferkit.datasets import Dataset
from transferkit.finetune.recipe import choose_recipe
from transferkit.finetune.strategies import parse_strategy
from transferkit.finetune.validation import chosen_by, split
from transferkit.images import ImageSet

pytestmark = pytest.mark.finetuning

RECIPE = choose_recipe({"validation_fraction": 0.2, "seed": 3}, parse_strategy("full"), 40)


def data(ids, groups=None):
    n = len(ids)
    images = ImageSet(tuple(range(n)), tuple(map(str, range(n))), groups=groups)
    return Dataset(images, tuple(ids), np.zeros((n, 2), np.float32), np.arange(n) % 2)


def test_as_scikit_learn_draws():
    whole = data([bytes([i]) for i in range(40)])
    train, held = split(whole, RECIPE, "classification")
    expected = train_test_split(np.arange(40), test_size=8, random_state=3, stratify=whole.y)[1]
    assert sorted(held.ids) == sorted(bytes([i]) for i in expected)
    assert set(train.ids) | set(held.ids) == set(whole.ids)
    assert len(train) == 32


def test_copies_are_on_one_side():
    for task in ("classification", "regression"):
        train, held = split(data([bytes([i % 20]) for i in range(40)]), RECIPE, task)
        assert len(train) + len(held) == 40
        assert len(held) == 8
        assert not set(train.ids) & set(held.ids)


def test_groups_are_on_one_side():
    groups = tuple(i // 5 for i in range(40))
    train, held = split(data([bytes([i]) for i in range(40)], groups), RECIPE, "classification")
    assert len(held) == 10
    assert not set(train.images.groups) & set(held.images.groups)
    one = data([bytes([i]) for i in range(40)], ("g",) * 40)
    assert split(one, RECIPE, "classification") == (one, None)


def test_a_given_part_without_copies(caplog):
    train = data([b"a", b"b"], ("g", None))
    parts = chosen_by(train, data([b"c", b"a", b"d"], (None, None, "g")))
    assert [part.ids for part in parts] == [(b"a", b"b"), (b"c",)]
    assert (
        "of 3 validation images 1 have the same bytes as training images and 1 are of groups"
        in caplog.text
    )
    assert chosen_by(train, data([b"b"])) == [train]


def test_a_given_part_without_unknown_classes(caplog):
    train, held = data([b"a", b"b"]), data([b"c", b"d", b"e"])
    held = Dataset(held.images, held.ids, held.X, np.array([0, 2, 1]))
    parts = chosen_by(train, held)
    assert [part.ids for part in parts] == [(b"a", b"b"), (b"c", b"e")]
    assert "of 3 validation images 1 are of classes that aren't trained on: th" in caplog.text
    assert chosen_by(train, held, "regression") == [train, held]
    several = Dataset(held.images, held.ids, held.X, np.ones((3, 2), int))
    whole = Dataset(train.images, train.ids, train.X, np.zeros((2, 2), int))
    assert chosen_by(whole, several) == [whole, several]


@pytest.mark.parametrize("n", [1, 4])
def test_too_few_to_hold_any_out(n):
    assert split(data([bytes([i]) for i in range(n)]), RECIPE, "classification")[1] is None
