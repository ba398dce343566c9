"""Cached views of files: what was changed meanwhile is never kept under the old id."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from tests.pictures import picture, write_pictures
from transferkit.backbones import resolve_backbone
from transferkit.extract import View, extract
from transferkit.finetune.augmentation import augmentation, augmented_views, view_number
from transferkit.finetune.recipe import Recipe
from transferkit.forward import Forward
from transferkit.images import UnreadableImages, list_images, prepare, read_rgb
from transferkit.pooling import parse_feature
from transferkit.store import FeatureStore
from transferkit.training import seed_of


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


def test_views_are_computed_on_one_device(tmp_path):
    images = list_images(write_pictures(tmp_path / "files", range(2)))
    spec = resolve_backbone("test_resnet", pretrained=False, image_size=64)
    with pytest.raises(ValueError, match="'cpu,cpu', and augmented views are computed on"):
        extract(images, spec, ["stage3"], None, device="cpu,cpu", view=View(1, lambda row, p: p))
