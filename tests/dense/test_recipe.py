"""Recipes of neck and head: what is chosen, and what is refused."""

import dataclasses

import pytest

from transferkit.dense.recipe import (
    DetectionRecipe,
    InstanceRecipe,
    OrientedRecipe,
    SegmentationRecipe,
    choose_recipe,
)
from transferkit.training import TrainingSettings

KINDS = [SegmentationRecipe, DetectionRecipe, InstanceRecipe, OrientedRecipe]


@pytest.mark.parametrize("kind", KINDS)
def test_fewer_images_get_more_epochs_within_bounds(kind):
    sizes = range(1, 3 * kind.trained_on, 37)
    epochs = [choose_recipe(kind, {}, n).epochs for n in sizes]
    assert epochs == sorted(epochs, reverse=True)
    assert max(epochs) == 50
    assert min(epochs) == kind().epochs
    for n, passes in zip(sizes, epochs, strict=True):
        assert passes * n >= kind.trained_on or passes == 50
        # One epoch less would be too little, or less than the least.
        assert (passes - 1) * n < kind.trained_on or passes == kind().epochs


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_given_is_kept(kind):
    given = {"epochs": 3, "batch_size": 7, "learning_rate": 0.5, "mirrored": False, "seed": 9}
    recipe = choose_recipe(kind, given, 1)
    assert dataclasses.asdict(recipe) == {**dataclasses.asdict(kind()), **given}
    # A whole number will do where a fraction is expected.
    assert choose_recipe(kind, {"learning_rate": 1}, 10).learning_rate == 1


def test_the_training_loop_gets_every_setting_that_it_knows():
    recipe = DetectionRecipe(epochs=3, batch_size=5, clip=2.0, patience=4, seed=6)
    settings = recipe.settings()
    shared = {f.name for f in dataclasses.fields(TrainingSettings)} & set(vars(recipe))
    assert {"epochs", "batch_size", "learning_rate", "clip", "seed", "ema"} <= shared
    assert all(getattr(settings, name) == getattr(recipe, name) for name in shared)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"zomed": True}, "did you mean 'zoomed'"),
        ({"epochs": 0}, "give a number above 0"),
        ({"batch_size": -1}, "give a number above 0"),
        ({"learning_rate": float("nan")}, "give a number above 0"),
        ({"epochs": 2.5}, "give a value such as"),
        ({"epochs": True}, "give a value such as"),
        ({"zoomed": 1}, "give a value such as True"),
        ({"precision": 16}, "give a value such as 'float32'"),
    ],
)
def test_what_is_not_allowed_is_said(given, words):
    with pytest.raises(ValueError, match=words):
        choose_recipe(DetectionRecipe, given, 10)
