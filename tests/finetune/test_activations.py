"""Cached views of files: what was changed meanwhile is never kept under the old id."""

import hashlib

import pytest
from PIL import Image

from tests.pictures import picture, write_pictures
from transferkit.backbones import resolve_backbone
from transferkit.finetune.activations import augmented_views
from transferkit.finetune.recipe import Recipe
from transferkit.images import UnreadableImages, list_images
from transferkit.store import FeatureStore


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
    assert store.list_keys() == []
    Image.fromarray(picture(2)).save(paths[2])
    (views,) = augmented_views(*arguments, device="cpu")
    assert len(views) == 4
