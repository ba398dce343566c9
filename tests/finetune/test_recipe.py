import re

import numpy as np
import pytest

from transferkit.finetune import choose_recipe, parse_strategy, setting_names
from transferkit.finetune.recipe import Recipe

pytestmark = pytest.mark.finetuning

FULL = parse_strategy("full")

WRONG = [
    ({"epochs": 0}, "epochs is 0; give a whole number of at least 1"),
    ({"epochs": 1.5}, "epochs is 1.5; give a whole number"),
    ({"patience": -1}, "patience is -1; give a whole number of at least 0"),
    ({"learning_rate": 0}, "learning_rate is 0; give a number above 0"),
    ({"learning_rate": float("nan")}, "learning_rate is nan; give a number above 0"),
    ({"ema": 1}, "ema is 1; give a number from 0 up to, but not, 1"),
    ({"mixup": -0.1}, "mixup is -0.1; give 0 or a number above it"),
    ({"crop_scale": 1.2}, "crop_scale is 1.2; give a number above 0 and at most 1"),
    ({"erasing": 2}, "erasing is 2; give a number from 0 to 1"),
    ({"rand_augment": 40}, "rand_augment is 40; give a magnitude from 0 to 30"),
    ({"sampling": "odd"}, "sampling is 'odd'; choose one of shuffle, balanced"),
    ({"precision": "int8"}, "precision is 'int8'; choose one of float32, bf16, fp16"),
    ({"batch_size": 9, "accumulate": 2}, "a batch size that is a multiple of accumulate"),
    ({"epoch": 3}, "unknown setting of the recipe: 'epoch'; did you mean 'epochs'?"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        choose_recipe(settings, FULL, 1000)


def test_few_images_take_more_epochs_than_many():
    sizes = [50, 300, 3000, 30_000, 300_000]
    recipes = [choose_recipe({}, FULL, n) for n in sizes]
    rates = [recipe.learning_rate for recipe in recipes]
    assert rates == sorted(rates)
    epochs = [recipe.epochs for recipe in recipes]
    assert epochs == sorted(epochs, reverse=True)
    steps = [n * r.epochs / r.batch_size for n, r in zip(sizes, recipes, strict=True)]
    assert steps == sorted(steps)


def test_rates_and_epochs_of_the_strategies():
    # Epochs, rate and layer decay, of 300 and of 2,000 images.
    expected = {
        "lp-ft": [(40, 1.5e-4, 0.85), (30, 5e-4, 0.85)],
        "last-1-stages": [(80, 3e-4, 1.0), (60, 1e-3, 1.0)],
        "norm-only": [(40, 9e-4, 1.0), (30, 3e-3, 1.0)],
        "lora": [(40, 6e-4, 1.0), (30, 2e-3, 1.0)],
    }
    for name, values in expected.items():
        for n, (epochs, rate, layer_decay) in zip((300, 2000), values, strict=True):
            recipe = choose_recipe({}, parse_strategy(name), n)
            assert (recipe.epochs, recipe.layer_decay) == (epochs, layer_decay), name
            assert recipe.learning_rate == pytest.approx(rate), name


def test_small_batches_keep_the_pretrained_statistics():
    assert choose_recipe({"batch_size": 16}, FULL, 1000).freeze_statistics
    assert not choose_recipe({"batch_size": 32}, FULL, 1000).freeze_statistics
    assert choose_recipe({"batch_size": 32}, FULL, 1000, n_devices=4).freeze_statistics
    assert choose_recipe({"batch_size": 32, "accumulate": 4}, FULL, 1000).freeze_statistics
    for name in ("lp-ft", "last-1-stages"):
        assert choose_recipe({"batch_size": 64}, parse_strategy(name), 1000).freeze_statistics
    set_ = {"batch_size": 8, "freeze_statistics": False}
    assert not choose_recipe(set_, FULL, 1000).freeze_statistics


def test_what_is_set_stands():
    recipe = choose_recipe({"epochs": 3, "learning_rate": 0.1}, FULL, 1000, precision="bf16")
    assert (recipe.epochs, recipe.learning_rate, recipe.precision) == (3, 0.1, "bf16")
    recipe = choose_recipe({"epochs": np.int64(3), "ema": np.float32(0.5)}, FULL, 1000)
    assert (type(recipe.epochs), type(recipe.ema)) == (int, float)
    shown = dict(recipe.lines())
    assert shown["epochs"] == "3"
    assert "mixup" not in shown
    assert "views" in shown
    assert "views" not in dict(recipe.lines(FULL))


def test_the_table_holds_every_line_once():
    for strategy in (None, FULL, parse_strategy("last-1-stages")):
        recipe = choose_recipe({"optimizer": "momentum"}, FULL, 1000)
        lines = recipe.lines(strategy)
        table = recipe.table(strategy)
        assert len(table) == -(-len(lines) // 3)
        pairs = [tuple(re.split(r"  +", part)) for line in table
                 for part in re.findall(r"[a-z]+(?: [a-z]+)*  +\S+", line)]  # fmt: skip
        assert sorted(pairs) == sorted(lines)
        # Names and values stand below each other.
        assert len({line.index("  ") for line in table if line.startswith("validation")}) <= 1


def test_every_setting_is_explained():
    for name in setting_names():
        assert re.search(rf"^    ([\w, ]*\b){name}\b[\w, ]* : ", Recipe.__doc__, re.M), name
