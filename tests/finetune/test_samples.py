import dataclasses

import numpy as np
import pytest
import torch

from tests.pictures import picture
from transferkit.finetune.recipe import Recipe
from transferkit.finetune.samples import MapSamples, PixelSamples
from transferkit.images import list_images
from transferkit.spec import Preprocess
from transferkit.training import load_batches

pytestmark = pytest.mark.finetuning

PREPROCESS = Preprocess((32, 48), "bilinear", 1.0, "squash", (0.5,) * 3, (0.5,) * 3)
RECIPE = Recipe(epochs=1, batch_size=4)
PLAIN = dataclasses.replace(RECIPE, crop_scale=1, flip=False, jitter=0)


def pixel_samples(recipe):
    return PixelSamples(list_images(np.stack([picture(i) for i in range(5)])), PREPROCESS, recipe)


def test_plain_pixels_are_those_that_prediction_sees():
    from transferkit.images import prepare, read_rgb

    samples = pixel_samples(RECIPE)
    for i in range(5):
        expected = prepare(read_rgb(picture(i)), PREPROCESS)
        np.testing.assert_array_equal(samples[i, -1].permute(1, 2, 0).numpy(), expected)


def test_augmentation_depends_on_the_seed_only():
    recipe = dataclasses.replace(RECIPE, rand_augment=9, erasing=0.5)
    samples = pixel_samples(recipe)
    first = samples[2, 7]
    torch.manual_seed(99)
    assert torch.equal(samples[2, 7], first)
    assert torch.equal(pixel_samples(recipe)[2, 7], first)
    assert not torch.equal(samples[2, 8], first)
    assert first.shape == (3, 32, 48)
    assert first.dtype == torch.uint8
    assert torch.equal(pixel_samples(PLAIN)[2, 7], samples[2, -1])


def test_flips_mirror_half_of_the_images():
    samples = pixel_samples(dataclasses.replace(PLAIN, flip=True))
    plain = samples[0, -1]
    flipped = [torch.equal(samples[0, seed], plain.flip(2)) for seed in range(100)]
    kept = [torch.equal(samples[0, seed], plain) for seed in range(100)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    assert 30 < sum(flipped) < 70


def augmented(pixels, n=200, **settings):
    """One image under `n` seeds; only what is named is done to it."""
    samples = pixel_samples(dataclasses.replace(PLAIN, **settings))
    samples.pixels = pixels[None]
    return np.stack([samples[0, seed].permute(1, 2, 0).numpy() for seed in range(n)])


def test_a_crop_shows_no_less_than_its_scale():
    # A pixel says where it is: rows in red, columns in green.
    rows, columns = np.meshgrid(np.arange(32) * 7, np.arange(48) * 5, indexing="ij")
    image = np.stack([rows, columns, np.zeros_like(rows)], -1).astype(np.uint8)
    for scale in (0.2, 0.8):
        shown = augmented(image, crop_scale=scale).astype(float)
        height, width = (np.ptp(shown[..., i], axis=(1, 2)) / m for i, m in ((0, 217), (1, 235)))
        shares = height * width
        assert scale - 0.1 < shares.min() < scale + 0.1
        # No crop is wider than 5 to 4: of two by three it shows five sixths at most.
        assert 0.75 < shares.max() < 5 / 6 + 0.01
        assert shown.shape[1:3] == (32, 48)


def test_jitter_changes_the_light_by_its_share_at_most():
    grey = np.full((32, 48, 3), 100, np.uint8)
    for jitter in (0.1, 0.5):
        light = augmented(grey, jitter=jitter).mean((1, 2, 3))
        # Three changes, each rounded.
        assert 100 * (1 - jitter) - 3 <= light.min() < 100 * (1 - 0.8 * jitter)
        assert 100 * (1 + 0.8 * jitter) < light.max() <= 100 * (1 + jitter) + 3
    # Contrast and saturation too: of two halves, one red, the difference changes.
    red = np.zeros((32, 48, 3), np.uint8)
    red[:, :24, 0] = 200
    shown = augmented(red, jitter=0.5)
    assert shown[..., 1].max() > 0  # less saturated
    assert shown[:, :, 24:, 0].max() > 0  # less contrast


def test_a_share_of_the_images_is_erased_in_part():
    image = np.full((32, 48, 3), 10, np.uint8)
    shown = augmented(image, erasing=0.3)
    shares = (shown == 128).mean((1, 2, 3))
    assert 0.2 < (shares > 0).mean() < 0.4
    assert shares[shares > 0].min() > 0.015
    assert shares.max() < 0.5
    assert set(np.unique(shown)) == {10, 128}


def test_rand_augment_grows_with_its_magnitude():
    image = np.array(pixel_samples(PLAIN).pixels[3])
    weak, strong = (
        np.abs(augmented(image, 60, rand_augment=m).astype(float) - image).mean() for m in (1, 30)
    )
    assert 0 < weak < strong


def test_maps_come_from_all_views_and_the_plain_one_first():
    views = [np.full((3, 2, 4, 4), v, np.float16) for v in range(3)]
    samples = MapSamples(views)
    assert float(samples[1, -1].max()) == 0
    assert {float(samples[1, seed].max()) for seed in range(50)} == {0, 1, 2}


# Python 3.12 warns of any fork beside threads, which torch always has; its loader forks.
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_batches_are_the_same_in_any_number_of_workers():
    samples = pixel_samples(RECIPE)
    rows = [np.array([0, 1, 2]), np.array([4, 3, 0])]
    alone = list(load_batches(samples, rows, (0, 1), 0))
    assert [len(b) for b in alone] == [3, 3]
    for a, b in zip(alone, load_batches(samples, rows, (0, 1), 2), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(alone[0], next(load_batches(samples, rows, (0, 2), 0)))
