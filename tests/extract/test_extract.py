import dataclasses
import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import timm
import timm.data
import torch
from PIL import Image

from tests.pictures import picture, write_pictures
from transferkit import digests
from transferkit.backbones import create_backbone, resolve_backbone
from transferkit.digests import DigestMemory, Digests
from transferkit.extract import BATCH_SIZE, extract
from transferkit.extract.decoding import warn_of_crop
from transferkit.forward import Forward
from transferkit.images import ImageSet, UnreadableImages, list_images
from transferkit.spec import Preprocess
from transferkit.store import FeatureStore, StoredRows

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _trust_young_files(monkeypatch):
    monkeypatch.setattr(digests, "RACY_NS", 0)


@pytest.fixture(scope="module")
def spec():
    return resolve_backbone("test_resnet", pretrained=False, image_size=64)


@pytest.fixture
def files(tmp_path):
    paths = write_pictures(tmp_path / "files", range(7))
    time.sleep(0.02)  # longer than a tick of the file system's clock
    return paths


@pytest.fixture
def passes(monkeypatch):
    """Shape and features of every forward pass."""
    seen = []
    rows = Forward.rows

    def counted(self, pixels):
        seen.append((pixels.shape, [str(feature) for feature in self.features]))
        return rows(self, pixels)

    monkeypatch.setattr(Forward, "rows", counted)
    return seen


def forbid_computing(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("was called")

    for place in (
        "transferkit.forward.engines.build_backbone",
        "transferkit.extract.job.Forward",
        "transferkit.extract.decoding.read_rgb",
        "transferkit.extract.decoding.network_input",
    ):
        monkeypatch.setattr(place, forbidden)


def extract_one(images, spec, store=None, feature="pre_logits", **options):
    """One feature's rows."""
    return extract(list_images(images), spec, [feature], store, **options).rows[feature]


def ids_of(paths):
    return [hashlib.sha256(Path(p).read_bytes()).digest()[:16] for p in paths]


def plain_network():
    torch.manual_seed(0)
    return timm.create_model("test_resnet", pretrained=False).eval()


def plain_inputs(paths, network):
    """What anybody would write: PIL, timm's transform."""
    options = timm.data.resolve_data_config(pretrained_cfg=network.pretrained_cfg)
    transform = timm.data.create_transform(**{**options, "input_size": (3, 64, 64)})
    return [transform(Image.open(path).convert("RGB"))[None] for path in paths]


def close(rows, expected):
    error = np.linalg.norm(rows - expected, axis=1) / np.linalg.norm(expected, axis=1)
    return error.max() < 1e-5


# ---- the numbers --------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_rows_are_those_of_a_plain_loop(tmp_path, spec, store, suffix):
    paths = write_pictures(tmp_path / "pictures", range(5), suffix)
    Image.fromarray(picture(9, (50, 90))).save(paths[2])
    Image.fromarray(picture(9, (90, 50))).convert("L").save(paths[3])
    network = plain_network()
    with torch.inference_mode():
        inputs = plain_inputs(paths, network)
        finals = [network.forward_features(image) for image in inputs]
        expected = torch.cat([network.forward_head(f, pre_logits=True) for f in finals]).numpy()
    rows = extract_one(paths, spec, store)
    assert rows.dtype == np.float32
    assert close(rows, expected)
    assert not close(rows, np.roll(expected, 1, axis=0))  # the bound tells images apart


def test_several_features_from_one_pass(files, spec, store, passes):
    names = ["pre_logits", "stage4.map", "final.map", "final", "stage2.max"]
    result = extract(list_images(files), spec, names, store, batch_size=4)
    assert [shape for shape, _ in passes] == [(4, 64, 64, 3)] * 2
    assert list(result.rows) == ["pre_logits", "stage4.map", "final.map", "final.avg", "stage2.max"]

    network = plain_network()
    with torch.inference_mode():
        inputs = torch.cat(plain_inputs(files, network))
        final, (stage2, stage4) = network.forward_intermediates(inputs, indices=[2, 4])
    assert result.rows["stage4.map"].shape == (7, 96, 2, 2)
    flat = {name: rows.reshape(7, -1) for name, rows in result.rows.items()}
    assert close(flat["stage4.map"], stage4.flatten(1).numpy())
    assert close(flat["final.map"], final.flatten(1).numpy())
    assert close(flat["final.avg"], final.mean((2, 3)).numpy())
    assert close(flat["stage2.max"], stage2.amax((2, 3)).numpy())


def test_stages_alone_give_what_they_give_beside_others(files, spec):
    alone = extract_one(files, spec, feature="stage3.avg")
    beside = extract(list_images(files), spec, ["pre_logits", "stage3.avg"], None)
    assert close(alone, beside.rows["stage3.avg"])


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_a_row_has_the_same_bits_in_any_company(tmp_path, files, name):
    spec = resolve_backbone(name, pretrained=False, image_size=64)
    # Other batch sizes make other matrices, whose sums may round otherwise; within one they don't.
    whole = extract_one(files, spec, batch_size=4)
    for order in ([3], [6, 0], [5, 5, 2, 0, 5, 1, 3, 4, 6, 2], [4, 3, 2, 1]):
        rows = extract_one([files[i] for i in order], spec, batch_size=4)
        np.testing.assert_array_equal(rows, whole[order])


def test_the_same_pixels_from_anywhere(tmp_path, files, spec):
    arrays = [picture(i) for i in range(7)]
    table = tmp_path / "table.csv"
    table.write_text("path\n" + "".join(f"files/{p.name}\n" for p in files))
    in_memory = [np.stack(arrays), arrays, [Image.fromarray(a) for a in arrays]]
    on_disk = [files, [str(p) for p in files], np.array([str(p) for p in files]), table]
    on_disk.append(files[0].parent)
    expected = extract_one(files, spec)
    ids = set()
    for source in in_memory + on_disk:
        result = extract(list_images(source), spec, ["pre_logits"], None)
        np.testing.assert_array_equal(result.rows["pre_logits"], expected)
        ids.add(result.ids)
    # One set of ids for pixels, one for files, and nothing in common.
    assert len(ids) == 2
    assert tuple(ids_of(files)) in ids
    assert len(set().union(*ids)) == 14


def test_one_picture(files, spec):
    expected = extract_one(files, spec)[:1]
    np.testing.assert_array_equal(extract_one(files[0], spec), expected)
    np.testing.assert_array_equal(extract_one(Image.open(files[0]), spec), expected)


def test_a_backbone_that_was_built_already(files, spec, store, monkeypatch):
    expected = extract_one(files, spec)
    backbone = create_backbone("test_resnet", pretrained=False, image_size=64)
    monkeypatch.setattr("transferkit.forward.engines.build_backbone", None)
    np.testing.assert_array_equal(extract_one(files, backbone, store), expected)
    assert not store.missing(spec.feature_spec("pre_logits"), ids_of(files))


def test_half_precision_storage(files, spec, store):
    full = extract_one(files, spec, store)
    half = extract_one(files, spec, store, storage="float16")
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, full.astype(np.float16))
    assert len(store.list_keys()) == 2


def test_bfloat16_is_another_key(files, spec, store):
    full = extract_one(files, spec, store)
    coarse = extract_one(files, spec, store, precision="bf16")
    assert {info.spec.precision: info.n_rows for info in store.list_keys()} == {
        "float32": 7,
        "bf16": 7,
    }
    assert coarse.dtype == np.float32
    assert not close(coarse, full)
    assert np.abs(coarse - full).max() < 0.1 * np.abs(full).max()


# ---- what is computed ---------------------------------------------------------------


def test_a_second_run_computes_and_reads_nothing(files, spec, store, monkeypatch):
    images = list_images(files)
    names = ["pre_logits", "stage3.gem"]
    first = extract(images, spec, names, store)
    assert (first.n_computed, first.n_read) == (7, 7)
    forbid_computing(monkeypatch)
    second = extract(images, spec, names, FeatureStore(store.path))
    assert (second.n_computed, second.n_read) == (0, 0)
    assert "no weights loaded" in second.summary()
    for name in names:
        np.testing.assert_array_equal(first.rows[name], second.rows[name])
    assert first.ids == second.ids == tuple(ids_of(files))


def test_arrays_are_found_again(spec, store, monkeypatch):
    arrays = np.stack([picture(i) for i in range(4)])
    first = extract_one(arrays, spec, store)
    monkeypatch.setattr("transferkit.extract.job.Forward", None)
    np.testing.assert_array_equal(extract_one(list(arrays[::-1]), spec, store), first[::-1])


def test_nothing_is_kept_without_a_store(files, spec, passes, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    for _ in range(2):
        assert extract(list_images(files), spec, ["pre_logits"], None).n_computed == 7
    assert len(passes) == 2
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path(os.environ["TRANSFERKIT_STORE"]).exists()


def test_renamed_moved_and_copied_files_cost_nothing(files, spec, store, monkeypatch, tmp_path):
    first = extract_one(files, spec, store)
    files[0].rename(files[0].with_name("renamed.jpg"))  # what is in it decides, not its name
    (tmp_path / "elsewhere").mkdir()
    shutil.move(files[1], tmp_path / "elsewhere")
    shutil.copy(files[2], tmp_path / "copy.png")
    os.utime(files[3])
    now = [
        files[0].with_name("renamed.jpg"),
        tmp_path / "elsewhere" / files[1].name,
        tmp_path / "copy.png",
        *files[2:],
    ]
    forbid_computing(monkeypatch)
    result = extract(list_images(now), spec, ["pre_logits"], store)
    assert result.n_computed == 0
    np.testing.assert_array_equal(result.rows["pre_logits"], first[[0, 1, 2, 2, 3, 4, 5, 6]])


def test_duplicates_are_computed_once(files, spec, store):
    result = extract(list_images([*files, *files, files[3]]), spec, ["pre_logits"], store)
    assert result.n_computed == 7
    rows = result.rows["pre_logits"]
    np.testing.assert_array_equal(rows[7:], rows[[*range(7), 3]])
    assert "8 duplicates" in result.summary()


def test_one_changed_file_costs_one_row(files, spec, store, passes):
    before = extract_one(files, spec, store)
    Image.fromarray(picture(99)).save(files[4])
    passes.clear()
    result = extract(list_images(files), spec, ["pre_logits"], store)
    assert result.n_computed == len(passes) == 1
    changed = (result.rows["pre_logits"] != before).any(axis=1)
    assert np.flatnonzero(changed).tolist() == [4]
    np.testing.assert_array_equal(
        result.rows["pre_logits"][4:5], extract_one(picture(99)[np.newaxis], spec)
    )


def test_a_new_feature_computes_only_itself(files, spec, store, passes):
    extract_one(files, spec, store)
    shards = {p: p.stat().st_mtime_ns for p in store.path.rglob("*.safetensors")}
    passes.clear()
    both = extract(list_images(files), spec, ["pre_logits", "stage1.avg"], store)
    assert [names for _, names in passes] == [["stage1.avg"]]
    assert both.n_computed == 7
    now = {p: p.stat().st_mtime_ns for p in store.path.rglob("*.safetensors")}
    assert now.items() > shards.items()
    assert len(now) == len(shards) + 1


def test_only_missing_images_go_through(files, spec, store, passes):
    extract_one(files[2:5], spec, store)
    passes.clear()
    result = extract(list_images(files), spec, ["pre_logits"], store, batch_size=2)
    assert result.n_computed == 4
    assert len(passes) == 2


def test_the_batch_size_of_the_store_is_used_again(files, spec, store, passes):
    assert BATCH_SIZE["cpu"] != 3
    extract_one(files[:2], spec, store, batch_size=3)
    extract_one(files, spec, store)
    extract_one(files, spec, store, feature="final.max")
    extract_one(files, spec, store, feature="final.max", storage="float16", batch_size=2)
    sizes = [shape[0] for shape, _ in passes]
    assert sizes == [3] * 3 + [BATCH_SIZE["cpu"]] + [2] * 4
    provenance = store.provenance(spec.feature_spec("pre_logits"))
    assert provenance["batch_size"] == "3"


def test_repeated_feature_names_are_one(files, spec):
    result = extract(list_images(files), spec, ["final", "final.avg", "final"], None)
    assert list(result.rows) == ["final.avg"]


# ---- unreadable images --------------------------------------------------------------


def png_header(width, height):
    """A PNG that claims a size, in a few bytes."""
    fields = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", fields), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")):
        crc = zlib.crc32(kind + data).to_bytes(4, "big")
        content += len(data).to_bytes(4, "big") + kind + data + crc
    return content


@pytest.fixture
def mixed(tmp_path, files):
    """Good and bad in turn, with labels; (images, positions of the good ones, reasons)."""
    bad = {name: tmp_path / name for name in ("cut.jpg", "empty.png", "text.jpg", "bomb.png")}
    Image.fromarray(picture(50)).save(bad["cut.jpg"], quality=95)
    bad["cut.jpg"].write_bytes(bad["cut.jpg"].read_bytes()[:1000])
    bad["empty.png"].write_bytes(b"")
    bad["text.jpg"].write_text("not a picture")
    bad["bomb.png"].write_bytes(png_header(20_000, 10_000))
    cut, empty, text, bomb = bad.values()
    missing = tmp_path / "missing.png"
    items = [files[0], cut, cut, files[1], empty, text, files[2], missing, files[3], bomb, files[4]]
    labels = tuple(f"label of {p.name}" for p in items)
    names = tuple(p.name for p in items)
    reasons = {
        1: "truncated",
        2: "truncated",
        4: "empty file",
        5: "not an image",
        7: "No such file",
        9: "200.0 megapixels",
    }
    return ImageSet(tuple(items), names, labels), [0, 3, 6, 8, 10], reasons


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_skipping_keeps_order_and_labels(mixed, spec, files, batch_size):
    images, good, reasons = mixed
    expected = extract_one(files[:5], spec, batch_size=batch_size)
    result = extract(
        images, spec, ["pre_logits", "final.max"], None, on_error="skip", batch_size=batch_size
    )
    assert result.kept.tolist() == good
    assert result.ids == tuple(ids_of(files[:5]))
    np.testing.assert_array_equal(result.rows["pre_logits"], expected)
    assert len(result.rows["final.max"]) == 5
    assert [f.index for f in result.failures] == list(reasons)
    for failure in result.failures:
        assert failure.name == images.names[failure.index]
        assert reasons[failure.index] in failure.reason
    assert "6 unreadable" in result.summary()


def test_raising_names_every_image_and_keeps_the_others(mixed, spec, store, files):
    images, _, reasons = mixed
    with pytest.raises(UnreadableImages, match="6 of 11 images could not be read") as caught:
        extract(images, spec, ["pre_logits"], store)
    assert [f.index for f in caught.value.failures] == list(reasons)
    assert all(images.names[i] in str(caught.value) for i in reasons)
    stored = FeatureStore(store.path).read(spec.feature_spec("pre_logits"), ids_of(files[:5]))
    np.testing.assert_array_equal(stored, extract_one(files[:5], spec))


def test_failures_are_not_remembered(mixed, spec, store, files):
    images, _, reasons = mixed
    extract(images, spec, ["pre_logits"], store, on_error="skip")
    for i in reasons:
        Image.fromarray(picture(60 + i)).save(images.items[i])
    result = extract(images, spec, ["pre_logits"], store, on_error="skip")
    assert not result.failures
    assert result.kept.tolist() == list(range(11))
    assert result.n_computed == 5  # two of the six are one file


def test_nothing_readable_raises_even_when_skipping(mixed, spec, monkeypatch):
    images, _, reasons = mixed
    monkeypatch.setattr("transferkit.forward.engines.build_backbone", None)
    with pytest.raises(UnreadableImages, match="6 of 6"):
        extract(images.select(reasons), spec, ["pre_logits"], None, on_error="skip")


def test_unreadable_arrays(spec):
    arrays = [picture(0), np.zeros((4, 4), np.float32), picture(1)]
    result = extract(list_images(arrays), spec, ["pre_logits"], None, on_error="skip")
    assert result.kept.tolist() == [0, 2]
    assert "float32" in result.failures[0].reason
    np.testing.assert_array_equal(result.rows["pre_logits"], extract_one(arrays[::2], spec))


# ---- files that change meanwhile ----------------------------------------------------


@pytest.fixture
def stale(monkeypatch):
    """From now on, files keep the digests that they have now."""

    def freeze(paths):
        known = dict(zip(paths, DigestMemory().digests(paths).values, strict=True))
        monkeypatch.setattr(
            DigestMemory,
            "digests",
            lambda self, asked, **options: Digests([known[p] for p in asked], 0),
        )

    return freeze


def test_a_file_changed_before_it_is_decoded(files, spec, store, stale):
    before = extract_one(files, spec)
    stale(files)
    old = ids_of(files)
    Image.fromarray(picture(99)).save(files[2])
    result = extract(list_images(files), spec, ["pre_logits"], store)
    # The row belongs to the bytes that were decoded, and stands under their id.
    assert result.ids == tuple(ids_of(files))
    expected = before.copy()
    expected[2] = extract_one(picture(99)[np.newaxis], spec)[0]
    np.testing.assert_array_equal(result.rows["pre_logits"], expected)
    assert store.missing(spec.feature_spec("pre_logits"), old) == [old[2]]


def test_a_file_changed_into_one_of_the_others(files, spec, store, stale):
    before = extract_one(files, spec)
    stale(files)
    shutil.copy(files[5], files[2])
    result = extract(list_images(files), spec, ["pre_logits"], store)
    np.testing.assert_array_equal(result.rows["pre_logits"], before[[0, 1, 5, 3, 4, 5, 6]])


@pytest.mark.parametrize("n_changed", [1, 3, 5])
def test_changed_files_say_nothing_of_their_copies(tmp_path, spec, store, stale, n_changed):
    # Five copies of one file, each named twice.
    copies = write_pictures(tmp_path / "copies", [7] * 5)
    stale(copies)
    for i in range(n_changed):
        Image.fromarray(picture(20 + i)).save(copies[i])
    result = extract(list_images(copies * 2), spec, ["pre_logits"], store)
    seeds = [20 + i if i < n_changed else 7 for i in range(5)]
    expected = extract_one(np.stack([picture(seed) for seed in seeds]), spec)
    np.testing.assert_array_equal(result.rows["pre_logits"], np.concatenate([expected, expected]))
    assert result.ids == tuple(ids_of(copies * 2))


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_a_file_that_is_gone_says_nothing_of_its_copies(tmp_path, spec, store, stale, content):
    copies = write_pictures(tmp_path / "copies", [7] * 3)
    stale(copies)
    if content is None:
        copies[0].unlink()
    else:
        copies[0].write_bytes(content)
    images = list_images([copies[0], copies[1], copies[0], copies[2]])
    result = extract(images, spec, ["pre_logits"], store, on_error="skip")
    assert result.kept.tolist() == [1, 3]
    assert [f.index for f in result.failures] == [0, 2]
    expected = extract_one(picture(7)[np.newaxis], spec)[[0, 0]]
    np.testing.assert_array_equal(result.rows["pre_logits"], expected)


# ---- damage, interruption, company --------------------------------------------------


def test_a_flipped_byte_costs_one_row(files, spec, store, caplog):
    before = extract_one(files, spec, store, batch_size=4)
    (shard,) = store.path.rglob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-5] ^= 4  # in the last row
    shard.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        result = extract(list_images(files), spec, ["pre_logits"], FeatureStore(store.path))
    np.testing.assert_array_equal(result.rows["pre_logits"], before)
    assert result.n_computed == 1
    assert "1 damaged rows" in caplog.text
    assert shard.name in caplog.text
    assert shard.read_bytes() == content  # nothing else was touched
    again = extract(list_images(files), spec, ["pre_logits"], FeatureStore(store.path))
    assert again.n_computed == 0
    np.testing.assert_array_equal(again.rows["pre_logits"], before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_was_done_before_an_interruption_is_kept(files, spec, store, monkeypatch, error):
    expected = extract_one(files, spec, batch_size=2)
    rows, calls = Forward.rows, []

    def interrupted(self, pixels):
        calls.append(1)
        if len(calls) == 3:
            raise error("now")
        return rows(self, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(Forward, "rows", interrupted)
        with pytest.raises(error, match="now"):
            extract_one(files, spec, store, batch_size=2)
    n_kept = store.list_keys()[0].n_rows
    assert n_kept in (4, 6)  # which of two workers makes the third call is chance
    result = extract(list_images(files), spec, ["pre_logits"], store)
    assert result.n_computed == 7 - n_kept
    np.testing.assert_array_equal(result.rows["pre_logits"], expected)


def test_shards_are_written_on_the_way(files, spec, store, monkeypatch):
    monkeypatch.setattr("transferkit.extract.writing.SHARD_ROWS", 4)
    extract_one(files, spec, store, batch_size=2)
    info = store.list_keys()[0]
    assert (info.n_rows, info.n_shards) == (7, 2)


TWO_PROCESSES = """
import hashlib, sys
import transferkit.extract.writing
from transferkit.backbones import resolve_backbone
from transferkit.extract import extract
from transferkit.images import list_images
from transferkit.store import FeatureStore

transferkit.extract.writing.SHARD_ROWS = 4
spec = resolve_backbone("test_resnet", pretrained=False, image_size=64)
print("ready", flush=True)
sys.stdin.readline()
result = extract(list_images(sys.argv[1]), spec, ["pre_logits"], FeatureStore(sys.argv[2]))
print(hashlib.sha256(result.rows["pre_logits"].tobytes()).hexdigest())
"""


@pytest.mark.kills
def test_two_processes_at_once(tmp_path, spec, store):
    paths = write_pictures(tmp_path / "many", range(40))
    expected = extract_one(paths, spec)
    command = [sys.executable, "-c", TWO_PROCESSES, paths[0].parent, store.path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = [process.communicate()[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert printed == [hashlib.sha256(expected.tobytes()).hexdigest()] * 2
    assert store.verify() == []
    np.testing.assert_array_equal(extract_one(paths, spec, store), expected)


# ---- a few images, as a server gets them ----


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_few_images_that_are_not_kept(files, spec, tmp_path, monkeypatch, n):
    kept = extract_one(files, spec, FeatureStore(tmp_path / "store"))
    batches, rows = [], Forward.rows

    def counted(self, pixels):
        batches.append(len(pixels))
        return rows(self, pixels)

    monkeypatch.setattr(Forward, "rows", counted)
    # No file is written, and nothing waits for a disk.
    monkeypatch.setattr(tempfile, "TemporaryDirectory", None)
    monkeypatch.setattr(os, "fsync", None)
    datas = [path.read_bytes() for path in files[:n]]
    np.testing.assert_allclose(extract_one(datas, spec), kept[:n], rtol=1e-4, atol=1e-5)
    assert batches == [{1: 1, 2: 2, 3: 4, 5: 8}[n]]
    with pytest.raises(UnreadableImages, match="empty file"):
        extract_one([b""], spec)


# ---- what is said -------------------------------------------------------------------


def warnings_of(caplog, images, spec, **options):
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="transferkit"):
        extract_one(images, spec, **options)
    return [record.getMessage() for record in caplog.records]


def test_images_that_suit_the_input_are_passed_over_in_silence(caplog, files, spec):
    assert warnings_of(caplog, files, spec) == []


def test_tiny_images_are_named(caplog, spec):
    tiny = [picture(i, (16, 16)) for i in range(3)]
    (message,) = warnings_of(caplog, [*tiny, picture(3), picture(4)], spec)
    assert message.startswith("3 of 5 images are enlarged")
    assert warnings_of(caplog, [*tiny, *map(picture, range(3, 6))], spec) == []
    # Of maps, small objects are seen better so.
    assert warnings_of(caplog, tiny, spec, feature="stage1.map") == []


def test_big_crops_are_named(caplog, spec):
    long = [picture(i, (64, 200)) for i in range(3)]
    (message,) = warnings_of(caplog, [*long, picture(3), picture(4)], spec)
    assert message.startswith("3 of 5 images are so long or so wide that the crop leaves out ")
    assert message.endswith("compare what is measured with --crop-mode center, squash and border "
                            "(crop_mode)")  # fmt: skip
    squash = dataclasses.replace(spec.preprocess, crop_mode="squash")
    assert warnings_of(caplog, long, dataclasses.replace(spec, preprocess=squash)) == []


def crops_said(caplog, sizes, **changes):
    """Percentages that the warnings of the crop name."""
    usual = Preprocess((64, 64), "bicubic", 1.0, "center", (0.5,) * 3, (0.5,) * 3)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="transferkit"):
        warn_of_crop(sizes, dataclasses.replace(usual, **changes))
    return [int(re.search(r"(\d+) %", record.getMessage())[1]) for record in caplog.records]


@pytest.mark.parametrize("crop_pct", [0.5, 0.875, 1.0])
def test_which_crops_are_named(caplog, crop_pct):
    photographs = [(480, 640), (640, 480), (400, 600), (1080, 1920), (1920, 1080), (500, 500)]
    for size in photographs:
        assert crops_said(caplog, [size], crop_pct=crop_pct) == []
    for size in [(400, 1000), (1000, 400)]:
        (share,) = crops_said(caplog, [size, size, *photographs[:1]], crop_pct=crop_pct)
        assert share == pytest.approx(100 * (1 - crop_pct**2 * 400 / 1000), abs=1)
        assert crops_said(caplog, [size, *photographs], crop_pct=crop_pct) == []
        assert crops_said(caplog, [size], crop_pct=crop_pct) == []
        for mode in ("squash", "border"):
            assert crops_said(caplog, [size], crop_pct=crop_pct, crop_mode=mode) == []
    # Of an input that is no square, ordinary is what has its shape.
    wide = {"image_size": (64, 160), "crop_pct": crop_pct}
    assert crops_said(caplog, [(400, 1000)] * 2, **wide) == []
    (share,) = crops_said(caplog, [(1000, 400)] * 2, **wide)
    assert share == pytest.approx(100 * (1 - crop_pct**2 * 160 / 1000), abs=1)
    assert crops_said(caplog, []) == []


def test_a_large_input_is_named(caplog):
    spec = resolve_backbone("test_resnet", pretrained=False, image_size=448)
    (message,) = warnings_of(caplog, [picture(0, (448, 448))], spec)
    assert "448 × 448 px, 4.0 times the pixels" in message


def test_one_line_about_a_run(caplog, files, spec):
    with caplog.at_level(logging.INFO, logger="transferkit.extract"):
        result = extract(list_images(files), spec, ["pre_logits"], None)
    assert [record.getMessage() for record in caplog.records] == [result.summary()]
    assert result.summary().startswith("extracted 7 images in ")
    assert "images/s); 0 from the store" in result.summary()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "on_error is 'ignore'; choose 'raise' or 'skip'"),
        ({"batch_size": 0}, "batch_size is 0; give a whole number above 0"),
        ({"feature": "stage9.avg"}, "stage9"),
        ({"feature": "final.median"}, "median"),
        ({"feature": "final.cls"}, "no class token"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"precision": "fp16", "device": "cpu"}, "'fp16' needs a GPU"),
        ({"precision": "double"}, "precision is 'double'"),
        ({"storage": "int4"}, "storage is 'int4'"),
    ],
)
def test_errors(files, spec, options, message):
    with pytest.raises(ValueError, match=message):
        extract_one(files, spec, **options)


# ---- rows that stay in the store ----------------------------------------------------


def test_rows_can_be_read_when_they_are_needed(files, spec, store):
    names = ["pre_logits", "stage4.map"]
    images = list_images([*files, files[0]])
    gathered = extract(images, spec, names, store)
    checked = extract(images, spec, names, store, keep_rows=False)
    for name in names:
        assert checked.rows[name].shape == (0, *gathered.rows[name].shape[1:])
        for extraction in (gathered, checked):
            stored = extraction.stored[name]
            np.testing.assert_array_equal(np.asarray(stored), gathered.rows[name])
            assert stored.ids == extraction.ids
    assert extract(images, spec, names, None).stored == {}


def test_rows_that_are_left_in_the_store_are_not_looked_at(files, spec, store, monkeypatch):
    images, names = list_images(files), ["pre_logits"]
    expected = extract(images, spec, names, store).rows["pre_logits"]
    n_read: list[int] = []
    take = StoredRows._take
    monkeypatch.setattr(StoredRows, "_take", lambda *a: n_read.append(len(a[1])) or take(*a))
    left = extract(images, spec, names, store, keep_rows="stored")
    assert sum(n_read) == 0
    assert len(left.rows["pre_logits"]) == 0
    np.testing.assert_array_equal(np.asarray(left.stored["pre_logits"]), expected)
    # Without a store there is nowhere to leave them.
    alone = extract(images, spec, names, None, keep_rows="stored")
    np.testing.assert_allclose(alone.rows["pre_logits"], expected, rtol=1e-5)


# ---- sizes of the originals ---------------------------------------------------------


def test_sizes_are_those_of_the_originals(tmp_path, spec, store, monkeypatch):
    sizes = [(40, 70), (90, 50), (33, 33), (40, 70)]
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        Image.fromarray(picture(i, size)).save(path)
    (tmp_path / "4.png").write_bytes(b"none")
    images = list_images([paths[0], tmp_path / "4.png", *paths[1:]])
    for _ in range(2):
        extraction = extract(images, spec, ["pre_logits"], store, on_error="skip", keep_rows=False)
        assert extraction.sizes.tolist() == [list(size) for size in sizes]
        monkeypatch.setattr(
            "PIL.ImageFile.ImageFile.load", None
        )  # on a full hit, nothing is decoded
        (tmp_path / "4.png").unlink(missing_ok=True)
    in_memory = list_images([picture(i, size) for i, size in enumerate(sizes)])
    assert (
        extract(in_memory, spec, ["pre_logits"], None).sizes.tolist() == extraction.sizes.tolist()
    )


@pytest.mark.parametrize("exif", [True, False])
def test_sizes_are_those_of_upright_images_where_exif_is_applied(tmp_path, store, exif):
    spec = resolve_backbone("test_resnet", pretrained=False, image_size=64, exif=exif)
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.fromarray(picture(0, (40, 70))).save(tmp_path / "turned.jpg", exif=tag)
    extraction = extract(list_images(tmp_path), spec, ["pre_logits"], store)
    assert extraction.sizes.tolist() == ([[70, 40]] if exif else [[40, 70]])


def test_sizes_are_read_when_they_are_asked_for(files, spec, store):
    extraction = extract(list_images(files), spec, ["pre_logits"], store)
    files[3].unlink()
    files[5].write_bytes(b"none")
    with pytest.raises(UnreadableImages, match="2 of 7 images") as error:
        _ = extraction.sizes
    assert [failure.index for failure in error.value.failures] == [3, 5]
