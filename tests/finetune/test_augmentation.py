"""Cached views of files: what was changed meanwhile is never kept under the old id."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from tests.pictures import picture, write_pictures
from transferkit.backbones import resolve_backbone
from transferkit.finetune.augmentation import (
    augmentation,
    augmented_views,
    view_number,
    view_of,
)
from transferkit.finetune.recipe import Recipe
from transferkit.forward import Forward
from transferkit.images import UnreadableImages, frame_of, list_images, prepare, read_rgb
from transferkit.pooling import parse_feature
from transferkit.spec import Preprocess
from transferkit.store import FeatureStore
from transferkit.training import seed_of

pytestmark = pytest.mark.finetuning


def test_a_file_changed_or_gone_meanwhile(tmp_path):
    paths = write_pictures(tmp_path / "files", range(4))
    ids = [hashlib.sha256(path.read_bytes()).digest()[:16] for path in paths]
    images = list_images(paths)
    spec = resolve_backbone("test_resnet", pretrained=False, image_size=64)
    store = FeatureStore(tmp_path / "store")
    arguments = (images, ids, spec, "stage3.map", store, Recipe(epochs=1, batch_size=2, views=1))
    Image.fromarray(picture(99)).save(paths[2])
    with pytest.raises(RuntimeError, match=r"002\.png' was changed while views of it"):
        augmented_views(*arguments, device="cpu")
    paths[2].unlink()
    with pytest.raises(UnreadableImages, match=r"1 of 4 images .*002\.png \(No such file"):
        augmented_views(*arguments, device="cpu")
    # What was computed stands under the id of what was decoded.
    for info in store.list_keys():
        assert store.missing(info.spec, [ids[2]]) == [ids[2]]
    Image.fromarray(picture(2)).save(paths[2])
    (views,) = augmented_views(*arguments, device="cpu")
    assert len(views) == 4


@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_views_are_those_of_a_plain_loop(tmp_path, storage):
    """One image at a time, seeded by hand; and in any number of threads the same."""
    paths = write_pictures(tmp_path / "files", range(9))
    ids = [hashlib.sha256(path.read_bytes()).digest()[:16] for path in paths]
    images = list_images(paths)
    spec = resolve_backbone("test_resnet", pretrained=False, image_size=64)
    recipe = Recipe(epochs=1, batch_size=2, views=2, crop_scale=0.5, flip=True, jitter=0.3)
    store = FeatureStore(tmp_path / "store")
    found = augmented_views(
        images, ids, spec, "stage3.map", store, recipe, device="cpu", storage=storage
    )
    forward = Forward(spec, [parse_feature("stage3.map")], device="cpu")
    augment = augmentation(recipe, (64, 64))
    state = torch.random.get_rng_state()
    for n, rows in enumerate(found, start=1):
        for i, path in enumerate(paths):
            pixels = prepare(read_rgb(path), spec.preprocess)
            torch.manual_seed(seed_of(ids[i], view_number(recipe, n)))
            view = augment(torch.from_numpy(pixels.copy()).permute(2, 0, 1)).permute(1, 2, 0)
            (expected,) = forward.rows(view.numpy()[None]).values()
            np.testing.assert_allclose(
                rows[i], expected[0], rtol=2e-3, atol=2e-3 * abs(expected).max()
            )
    torch.random.set_rng_state(state)
    assert len(store.list_keys()) == 2
    again = augmented_views(
        images, ids, spec, "stage3.map", store, recipe, device="cpu", storage=storage
    )
    np.testing.assert_array_equal(again[1], found[1])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    "changes",
    [
        {"crop_scale": 0.4, "flip": False},
        {"crop_scale": 1.0, "flip": True},
        {"crop_scale": 0.3, "flip": True, "jitter": 0.2},
        {"crop_scale": 1.0, "flip": False},
    ],
)
def test_a_painted_spot_lies_where_a_views_frame_says(changes):
    size, image_size = (150, 190), (96, 112)
    preprocess = Preprocess(image_size, "bilinear", 0.9, "border", (0.0,) * 3, (1.0,) * 3)
    view = view_of(Recipe(epochs=1, batch_size=1, views=1, **changes), image_size, 1)
    y, x = (np.arange(side) + 0.5 for side in size)
    rows, columns = (np.arange(side) + 0.5 for side in image_size)
    n_seen, n_mirrored = 0, 0
    for i in range(40):
        row = hashlib.sha256(bytes([i])).digest()[:16]
        frame = frame_of(size, preprocess, view.frame(row))
        n_mirrored += frame.is_mirrored
        at = np.array([95.3, 70.6])
        spot = 220 * np.exp(-((x - at[0]) ** 2 + (y[:, None] - at[1]) ** 2) / (2 * 5**2))
        image = Image.fromarray(np.repeat(spot[..., None], 3, axis=2).round().astype(np.uint8))
        seen = view.change(row, prepare(image, preprocess)).mean(axis=2)
        expected = frame.forward_points([at])[0]
        room = 4 * 5 * np.abs(frame.scale)
        if (expected < room).any() or (expected > np.array(image_size[::-1]) - room).any():
            continue
        found = (seen @ columns).sum() / seen.sum(), (rows @ seen).sum() / seen.sum()
        np.testing.assert_allclose(found, expected, atol=0.25)
        n_seen += 1
    assert n_seen >= 10
    assert (0 < n_mirrored < 40) == changes["flip"]


def test_a_view_that_turns_and_shears_has_no_frame():
    recipe = Recipe(epochs=1, batch_size=1, views=1, flip=True, rand_augment=5)
    assert view_of(recipe, (64, 64), 1).frame is None


def test_other_pixels_than_8_bit_rgb():
    image = torch.rand(5, 40, 40, generator=torch.Generator().manual_seed(0)) * 200
    recipe = Recipe(epochs=1, batch_size=2, crop_scale=1.0, flip=False, jitter=0.3)
    torch.manual_seed(3)
    changed = augmentation(recipe, (40, 40), is_rgb=False)(image)
    torch.manual_seed(3)
    brightness, contrast = 1 + 0.3 * (2 * torch.rand(2) - 1)
    expected = image * brightness
    expected = ((expected - expected.mean()) * contrast + expected.mean()).clamp(0, 255)
    torch.testing.assert_close(changed, expected)
    assert changed.dtype == torch.float32
    wanted = Recipe(epochs=1, batch_size=2, rand_augment=9)
    with pytest.raises(ValueError, match="rand_augment is 9, which is for 8-bit RGB"):
        augmentation(wanted, (40, 40), is_rgb=False)
