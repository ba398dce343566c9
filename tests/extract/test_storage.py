"""Rows stored as int8, from images to the store: near the exact ones, and said how near."""

import logging

import numpy as np
import pytest

from tests.pictures import write_pictures
from transferkit.backbones import resolve_backbone
from transferkit.extract import extract, mirrored
from transferkit.images import list_images
from transferkit.store import FeatureStore

MAPS = ["stage1.map", "stage3.map"]


@pytest.fixture
def spec():
    return resolve_backbone("test_resnet", pretrained=False, image_size=64)


@pytest.fixture
def images(tmp_path):
    return list_images(write_pictures(tmp_path / "files", range(11)))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cpu,cpu", marks=pytest.mark.kills)])
def test_rows_are_within_half_a_scale(images, spec, store, device):
    exact = extract(images, spec, MAPS, None, batch_size=4).rows
    options = {"storage": "int8", "batch_size": 4, "device": device}
    found = extract(images, spec, MAPS, store, **options)
    for name, rows in exact.items():
        largest = np.abs(rows).max(axis=(2, 3), keepdims=True)
        assert found.rows[name].dtype == np.float32
        error = np.abs(found.rows[name] - rows)
        assert (error <= largest / 254 * (1 + 2e-5)).all()
        assert error.any()
    again = extract(images, spec, MAPS, FeatureStore(store.path), keep_rows="stored", **options)
    assert again.n_computed == 0
    for name in MAPS:
        np.testing.assert_array_equal(again.stored[name][:], found.rows[name])
    assert store.verify() == []
    n_values = sum(rows[0].size for rows in exact.values())
    assert sum(info.n_bytes for info in store.list_keys()) < 1.3 * 11 * n_values
    assert {info.spec.storage for info in store.list_keys()} == {"int8"}


@pytest.mark.parametrize("storage", ["int8", "float16"])
def test_the_loss_is_told(images, spec, store, storage):
    names = ["stage1.map", "pre_logits"]
    exact = extract(images, spec, names, None, batch_size=4).rows
    found = extract(images, spec, names, store, storage=storage, batch_size=4)
    infos = {info.spec.feature: info for info in store.list_keys()}
    means = {}
    for name in names:
        pairs = zip(exact[name].astype(float), found.rows[name].astype(float), strict=True)
        cosines = [(a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()) for a, b in pairs]
        certificate = infos[name].certificate
        assert certificate.mean_cosine == pytest.approx(np.mean(cosines), abs=1e-6)
        assert certificate.smallest_cosine == pytest.approx(min(cosines), abs=1e-6)
        assert (certificate.n_rows, certificate.n_held_out) == (11, 0)
        assert min(cosines) > 0.999
        means[name] = certificate.mean_cosine
    worst = min(means, key=means.get)
    assert dict(found.notes())["storage"].startswith(
        f"{storage} of {worst}: cosine to float32 {means[worst]:.7f} on average"
    )
    # Nothing is lost in float32, and nothing told; nor by what finds all rows there.
    for one in ("float32", storage):
        exact_run = extract(images, spec, names, store, storage=one)
        assert "storage" not in dict(exact_run.notes())


@pytest.mark.parametrize("feature", ["pre_logits", "stage1.flatten"])
def test_vectors_are_within_half_a_scale_of_their_block(images, spec, store, feature):
    exact = extract(images, spec, [feature], None, batch_size=4).rows[feature]
    found = extract(images, spec, [feature], store, storage="int8", batch_size=4)
    rows, width = found.rows[feature], exact.shape[1]
    assert rows.dtype == np.float32
    starts = range(0, width, 64)
    largest = np.repeat(np.maximum.reduceat(np.abs(exact), starts, axis=1), 64, axis=1)
    error = np.abs(rows - exact)
    # It isn't the same pass, so that a value at a half may be rounded otherwise.
    assert (error <= largest[:, :width] / 254 * (1 + 1e-3)).all()
    assert error.any()
    [info] = store.list_keys()
    assert info.n_bytes < 11 * (width + 4 * len(starts) + 20) + 2000


def test_maps_that_are_not_finite_are_named(tmp_path, spec, store, monkeypatch):
    from transferkit.forward import Forward

    original = Forward.rows

    def odd(self, pixels):
        rows = original(self, pixels)
        rows["stage1.map"][1, 2, 3, 3] = np.inf
        rows["stage1.map"][3] = 3e38 * np.sign(rows["stage1.map"][3])
        rows["stage1.map"][3, 0] = 3.4e38
        return rows

    monkeypatch.setattr(Forward, "rows", odd)
    files = list_images(write_pictures(tmp_path / "files", range(5)))
    found = extract(
        files, spec, ["stage1.map"], store, storage="int8", on_error="skip", batch_size=5
    )
    assert found.kept.tolist() == [0, 2, 4]
    assert [f.reason.partition(";")[0] for f in found.failures] == [
        "its features are not finite (NaN or infinite)",
        "its features exceed 3.37624e+38, the largest int8",
    ]
    assert found.provenance["storage_smallest_cosine"] > "0.99"
    assert found.provenance["storage_sample"] == "3"


def test_a_damaged_scale_is_computed_again(images, spec, store, caplog):
    before = extract(images, spec, ["stage1.map"], store, storage="int8")
    [path] = store.path.rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    at = content.index(b'"scales"')
    begin = int(content[at:].split(b"data_offsets")[1].split(b"[")[1].split(b",")[0])
    content[8 + int.from_bytes(content[:8], "little") + begin] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        after = extract(images, spec, ["stage1.map"], FeatureStore(store.path), storage="int8")
    assert after.n_computed == 1
    assert "1 damaged rows" in caplog.text
    # It went through the network alone, so some values may be rounded otherwise.
    largest = np.abs(before.rows["stage1.map"]).max()
    error = np.abs(after.rows["stage1.map"] - before.rows["stage1.map"])
    assert error.max() <= 1.01 * largest / 127


def test_classes_and_views_have_keys_of_their_own(images, spec, store):
    view = mirrored(spec.preprocess)
    for storage in ("float32", "float16", "int8"):
        for one in (None, view):
            found = extract(images, spec, ["stage1.map"], store, storage=storage, view=one)
            assert found.n_computed == 11
    infos = store.list_keys()
    assert len({info.key for info in infos}) == len(infos) == 6
