"""What a recipe allows, and what it takes from the strategy."""

import pytest

from transferkit.finetune.dense import LiveRecipe, choose_live_recipe, dense_strategy


def test_the_backbone_has_a_tenth_of_the_rate_unless_few_parameters_are_trained():
    rates = {
        name: choose_live_recipe({}, dense_strategy(name), 10, LiveRecipe).backbone_rate
        for name in ("lp-ft", "full", "norm-only", "bias-only", "lora")
    }
    assert rates == {"lp-ft": 0.1, "full": 0.1, "norm-only": 1, "bias-only": 1, "lora": 1}


def test_what_is_given_is_kept():
    given = {"epochs": 3, "backbone_rate": 0.5, "loss": "dice", "accumulate": 2, "minutes": 2}
    recipe = choose_live_recipe(given, dense_strategy("lora"), 10, LiveRecipe)
    assert {name: getattr(recipe, name) for name in given} == given
    settings = recipe.settings()
    assert (settings.epochs, settings.accumulate) == (3, 2)


def test_stages_are_refused_with_what_there_is_instead():
    with pytest.raises(ValueError, match=r"of several; choose one of lp-ft, .*, lora$"):
        dense_strategy("last-1-stages")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"epochs": 0}, "above 0"),
        ({"accumulate": 3}, "multiple of accumulate"),
        ({"accumulate": 0}, "at least 1"),
        ({"crop_scale": 0}, "above 0 and at most 1"),
        ({"backbone_rate": 0}, "above 0"),
        ({"validation_fraction": 1}, "up to, but not, 1"),
        ({"jitter": "much"}, "0 or a number above it"),
        ({"freeze_statistics": 1}, "true or false"),
    ],
)
def test_what_is_not_allowed_is_said(settings, words):
    with pytest.raises(ValueError, match=words):
        choose_live_recipe(settings, dense_strategy("lp-ft"), 10, LiveRecipe)


def test_only_settings_that_do_something_are_shown():
    lines = choose_live_recipe({"crop_scale": 0.5}, dense_strategy("lp-ft"), 10, LiveRecipe).lines()
    assert "crop scale 0.5" in lines
    assert "seed 0" in lines
    assert not [line for line in lines if line.startswith(("jitter", "minutes", "ema"))]
