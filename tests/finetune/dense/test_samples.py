"""Images and their masks are changed together."""

import numpy as np
import pytest
import torch

from transferkit.annotations import VOID
from transferkit.finetune.dense import LiveRecipe
from transferkit.finetune.dense.samples import MaskedPixels
from transferkit.images import list_images
from transferkit.spec import Preprocess

PREPROCESS = Preprocess((32, 48), "bilinear", 1.0, "squash", (0.5,) * 3, (0.5,) * 3)


def samples(dtype=np.uint8, **settings):
    """Three images of blocks, whose classes are told by the brightness; the last is void."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 3, (3, 8, 12)).repeat(4, axis=1).repeat(4, axis=2)
    images = np.repeat((100 * blocks)[..., None], 3, axis=3).astype(np.uint8)
    void = 255 if dtype == np.uint8 else VOID
    targets = np.where(blocks == 2, void, blocks).astype(dtype)
    return MaskedPixels(list_images(images), targets, PREPROCESS, LiveRecipe(**settings)), blocks


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_without_a_seed_they_are_as_they_are(dtype):
    found, blocks = samples(dtype)
    for i in range(3):
        pixels, target = found[i, -1]
        assert pixels.dtype == torch.uint8
        assert (pixels[0].numpy() == 100 * blocks[i]).all()
        assert (target.numpy() == np.where(blocks[i] == 2, VOID, blocks[i])).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_a_mirrored_image_has_a_mirrored_mask(dtype):
    found, blocks = samples(dtype)
    seen = set()
    for seed in range(12):
        pixels, target = found[0, seed]
        is_mirrored = bool((pixels[0].numpy() == 100 * blocks[0][:, ::-1]).all())
        expected = blocks[0][:, ::-1] if is_mirrored else blocks[0]
        assert (pixels[0].numpy() == 100 * expected).all()
        assert (target.numpy() == np.where(expected == 2, VOID, expected)).all()
        seen.add(is_mirrored)
    assert seen == {True, False}
    plain, _ = samples(mirrored=False)
    assert all((plain[0, s][0].numpy()[0] == 100 * blocks[0]).all() for s in range(12))


def test_a_crop_moves_the_mask_with_the_image():
    found, _ = samples(crop_scale=0.3)
    for seed in range(8):
        pixels, target = found[1, seed]
        assert target.shape == (32, 48)
        by_pixels = np.rint(pixels[0].numpy() / 100).astype(int)
        by_pixels[by_pixels == 2] = VOID
        assert (by_pixels == target.numpy()).mean() > 0.8


def test_colour_leaves_the_mask_alone_and_a_seed_decides():
    found, blocks = samples(jitter=0.5, mirrored=False)
    pixels, target = found[0, 5]
    assert (pixels[0].numpy() != 100 * blocks[0]).any()
    assert (target.numpy() == np.where(blocks[0] == 2, VOID, blocks[0])).all()
    assert torch.equal(found[0, 5][0], pixels)
