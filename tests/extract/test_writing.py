"""Rows that the store would refuse: the image is named, and the others are kept."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from torch import nn

from tests.pictures import write_pictures
from transferkit.backbones import create_backbone
from transferkit.extract import extract
from transferkit.images import UnreadableImages, list_images

FEATURES = ["pre_logits", "stage2.avg"]


class _Fragile(nn.Module):
    """A network that divides by the contrast of its input, and shouts at what is bright."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images, layers):
        maps = self.network(images, layers)
        contrast = images.std(dim=(1, 2, 3))
        factor = (contrast / contrast)[:, None]  # nothing over nothing where all is black
        is_bright = images.mean(dim=(1, 2, 3)) > 0.9
        factor = factor + 1e9 * is_bright[:, None]
        return dataclasses.replace(maps, pre_logits=maps.pre_logits * factor)


@pytest.fixture
def backbone():
    made = create_backbone("test_resnet", pretrained=False, image_size=64)
    made.network = _Fragile(made.network)
    return made


@pytest.fixture
def files(tmp_path):
    """Seven pictures; the third is black, and so is its copy, the last."""
    paths = write_pictures(tmp_path / "files", range(7))
    for i in (2, 6):
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(paths[i])
    return paths


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_rows_that_are_not_finite(files, backbone, store, batch_size):
    images = list_images(files)
    result = extract(
        images, backbone, FEATURES, store, on_error="skip", batch_size=batch_size, device="cpu"
    )
    assert [failure.name for failure in result.failures] == [images.names[2], images.names[6]]
    reason = "its features are not finite (NaN or infinite); look at it and the weights"
    assert {failure.reason for failure in result.failures} == {reason}
    assert result.kept.tolist() == [0, 1, 3, 4, 5]
    assert result.n_computed == 5
    expected = create_backbone("test_resnet", pretrained=False, image_size=64)
    alone = extract(
        images.select(result.kept), expected, FEATURES, None, batch_size=batch_size, device="cpu"
    )
    for name in FEATURES:
        np.testing.assert_allclose(result.rows[name], alone.rows[name], rtol=1e-4, atol=1e-6)
    # Neither feature of such an image is kept, and the next run tries again.
    assert {info.n_rows for info in store.list_keys()} == {5}
    with pytest.raises(UnreadableImages, match=r"2 of 7 images .*002\.png \(its features are not"):
        extract(images, backbone, FEATURES, store, device="cpu")


def test_nothing_but_rows_that_are_not_finite(files, backbone, store):
    with pytest.raises(UnreadableImages, match="1 of 1 images"):
        extract(list_images(files[2:3]), backbone, FEATURES, store, on_error="skip")
    assert store.list_keys() == []


def test_the_advice_where_it_was_not_float32(files, backbone):
    result = extract(
        list_images(files), backbone, FEATURES, None, on_error="skip", precision="bf16"
    )
    assert result.failures[0].reason.endswith("try --precision float32")
    assert result.kept.tolist() == [0, 1, 3, 4, 5]


def test_rows_beyond_the_storage_type(tmp_path, backbone, store):
    paths = write_pictures(tmp_path / "files", range(4))
    bright = np.full((64, 64, 3), 255, np.uint8)
    bright[32, 32] = 0  # or it would have no contrast
    Image.fromarray(bright).save(paths[1])
    images = list_images(paths)
    wide = extract(images, backbone, FEATURES, None, batch_size=4)
    assert np.abs(wide.rows["pre_logits"][1]).max() > np.finfo(np.float16).max
    result = extract(
        images, backbone, FEATURES, store, on_error="skip", storage="float16", batch_size=4
    )
    assert result.kept.tolist() == [0, 2, 3]
    reason = "its features exceed 65504, the largest float16; try --storage float32"
    assert [failure.reason for failure in result.failures] == [reason]
    expected = wide.rows["pre_logits"][[0, 2, 3]].astype(np.float16)
    np.testing.assert_array_equal(result.rows["pre_logits"], expected)
