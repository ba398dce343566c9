"""Several devices; here they are two processes on the CPU."""

import logging
import multiprocessing
import os
import signal

import numpy as np
import pytest
from PIL import Image

from tests.pictures import write_pictures
from transferkit.backbones import create_backbone, resolve_backbone
from transferkit.extract import extract, plan
from transferkit.extract import job as module
from transferkit.extract.identities import Identities
from transferkit.extract.runners import _share, local
from transferkit.forward import choose_device
from transferkit.images import Tiling, UnreadableImages, list_images, tiled
from transferkit.store import FeatureStore

pytestmark = pytest.mark.kills

FEATURES = ["pre_logits", "stage3.avg"]


@pytest.fixture(autouse=True)
def _trust_young_files(monkeypatch):
    monkeypatch.setattr("transferkit.files.RACY_NS", 0)


@pytest.fixture
def spec():
    return resolve_backbone("test_resnet", pretrained=False, image_size=64)


@pytest.fixture
def files(tmp_path):
    return write_pictures(tmp_path / "files", range(40))


def two(files, spec, store, **options):
    options = {"device": "cpu,cpu", "batch_size": 4, **options}
    return extract(list_images(files), spec, FEATURES, store, **options)


def n_shards(store):
    return {info.n_shards for info in store.list_keys()}


def test_the_rows_of_one_process(files, spec, store, caplog):
    small = list_images([*files, files[3]])
    network = create_backbone("test_resnet", pretrained=False, image_size=64)
    with caplog.at_level(logging.WARNING):
        result = extract(small, network, FEATURES, store, device="cpu,cpu", batch_size=4)
    expected = extract(small, spec, FEATURES, None, batch_size=4)
    for name in FEATURES:
        np.testing.assert_array_equal(result.rows[name], expected.rows[name])
    assert result.n_computed == len(files)
    assert set(result.shares) == {"read", "decode", "forward", "write"}
    assert result.provenance == expected.provenance
    assert n_shards(store) == {2}
    again = two(files, spec, store)
    assert (again.n_computed, again.n_read, n_shards(store)) == (0, 0, {2})
    # A later run fills what is new, and nothing else.
    (store.path / spec.feature_spec("stage3.avg").key).rename(store.path / "elsewhere")
    assert two(files, spec, FeatureStore(store.path)).n_computed == len(files)
    assert n_shards(store) == {2}


def test_images_in_memory_and_files_that_cannot_be_read(tmp_path, spec, store, caplog):
    arrays = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    with caplog.at_level(logging.WARNING):
        result = two(arrays, spec, store)
    assert result.n_computed == 12
    # Each process has seen its half of the pictures, all of them tiny; it is said once, of all.
    assert [text[:28] for text in caplog.messages] == ["12 of 12 images are enlarged"]
    expected = extract(list_images(arrays), spec, FEATURES, None, batch_size=4)
    np.testing.assert_array_equal(result.rows["pre_logits"], expected.rows["pre_logits"])

    files = write_pictures(tmp_path / "files", range(12))
    files[7].write_bytes(b"no picture")
    result = two(files, spec, store, on_error="skip")
    assert [failure.index for failure in result.failures] == [7]
    assert result.n_computed == 11
    assert list(result.kept) == [i for i in range(12) if i != 7]
    with pytest.raises(UnreadableImages, match="007"):
        two(files, spec, store)


def test_a_store_in_memory_is_for_one_process(files, spec):
    with pytest.raises(ValueError, match=r"'memory://x' is in the memory of one process.* or one"):
        two(files, spec, FeatureStore("memory://x"))


def test_a_large_input_is_named_once(tmp_path, store, caplog):
    spec = resolve_backbone("test_resnet", pretrained=False, image_size=448)
    arrays = np.random.default_rng(0).integers(0, 256, (3, 300, 300, 3), dtype=np.uint8)
    with caplog.at_level(logging.WARNING):
        assert two(arrays, spec, store, batch_size=1).n_computed == 3
    assert [text[:39] for text in caplog.messages] == ["the backbone's input is 448 × 448 px, 4"]


def test_the_pixel_limit_of_this_process(files, spec, store, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.raises(UnreadableImages, match=r"12 of 12 images .*0\.0 megapixels, above the lim"):
        two(files[:12], spec, store)
    assert store.list_keys() == []


def test_images_of_pil(spec, store):
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 256, (20, 24, 4), dtype=np.uint8)) for _ in range(12)]
    palettes = [image.quantize(16) for image in noise[:6]]  # with transparent colours
    turned = [image.convert("RGB") for image in noise[6:]]
    for image in turned:
        image.getexif()[0x0112] = 6
    given = [*palettes, *turned]
    exif = resolve_backbone("test_resnet", pretrained=False, image_size=64, exif=True)
    result = two(given, exif, store)
    expected = extract(list_images(given), exif, FEATURES, None, batch_size=4)
    assert result.ids == expected.ids
    np.testing.assert_array_equal(result.rows["pre_logits"], expected.rows["pre_logits"])


def test_more_devices_than_batches(files, spec, store):
    result = two(files[:6], spec, store, device="cpu,cpu,cpu,cpu")
    assert result.n_computed == 6
    assert n_shards(store) == {2}


def test_no_process_for_a_batch(files, spec, store, monkeypatch):
    monkeypatch.setattr(local.multiprocessing, "get_context", None)
    assert two(files[:4], spec, store).n_computed == 4


def test_a_process_that_fails_says_why(files, spec, store):
    with pytest.raises(ValueError, match=r"cuda:99: device 'cuda:99' can't be used .* choose"):
        two(files, spec, store, device="cpu,cuda:99")
    assert not multiprocessing.active_children()
    with pytest.raises(ValueError, match="one is needed here; several are for extracting"):
        choose_device("cuda:0,cuda:1")
    with pytest.raises(ValueError, match="'auto' stands alone"):
        two(files, spec, store, device="auto,cpu")
    with pytest.raises(ValueError, match="device is 'tpu'; choose one of"):
        two(files, spec, store, device="cpu,tpu")


class _Bar:
    """Calls something when the first images are done."""

    def __init__(self, call):
        self.call = call

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def update(self, n_images):
        call, self.call = self.call, lambda: None
        call()


def _kill():
    for child in multiprocessing.active_children():
        os.kill(child.pid, signal.SIGKILL)


def _interrupt():
    raise KeyboardInterrupt


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [(_kill, RuntimeError, r"ended early \(exit code -9\)"), (_interrupt, KeyboardInterrupt, "^$")],
)
def test_stopped_on_the_way(tmp_path, spec, store, monkeypatch, call, error, message):
    files = write_pictures(tmp_path / "many", range(400))
    monkeypatch.setattr("transferkit.extract.progress_bar", lambda n, shown: _Bar(call))
    with pytest.raises(error, match=message):
        two(files, spec, store)
    assert not multiprocessing.active_children()
    monkeypatch.undo()
    kept = {info.spec.feature: info.n_rows for info in store.list_keys()}
    if call is _interrupt:  # who isn't killed writes what it has
        assert 0 < kept["pre_logits"] < 400
    result = extract(list_images(files), spec, FEATURES, store)
    assert result.n_computed == 400 - min(kept.values(), default=0)
    expected = extract(list_images(files), spec, FEATURES, None, batch_size=4)
    np.testing.assert_array_equal(result.rows["pre_logits"], expected.rows["pre_logits"])


def test_a_plan_of_several(files, spec, store, monkeypatch):
    seen = []
    workers_for = module.workers_for

    def spied(device, n_batches, n_sharing=1, **options):
        seen.append(n_sharing)
        return workers_for(device, n_batches, n_sharing, **options)

    monkeypatch.setattr(module, "workers_for", spied)
    images = list_images(files)
    made = plan(images, spec, FEATURES, store, device="cpu,cpu", batch_size=4)
    assert made.n_missing == len(files)
    assert set(seen) == {2}


def test_tiles_of_files_and_of_images_in_memory(files, spec, store):
    pictures = [Image.open(path).convert("P") for path in files[:6]]
    items = list_images([*pictures, *files[6:12]])
    found = tiled(items, Tiling.of("2x2")).images
    result = extract(found, spec, FEATURES, store, device="cpu,cpu", batch_size=4)
    expected = extract(found, spec, FEATURES, None, batch_size=4)
    assert result.ids == expected.ids
    for name in FEATURES:
        np.testing.assert_array_equal(result.rows[name], expected.rows[name])


def test_grey_images_in_memory_stay_of_one_channel():
    grey = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    images = list_images([grey, grey.convert("RGB")])
    sent = _share._sendable(images, exif=False)
    assert [item.shape for item in sent.items] == [(3, 4), (3, 4, 3)]
    assert Identities(sent, exif=False).ids == Identities(images, exif=False).ids
