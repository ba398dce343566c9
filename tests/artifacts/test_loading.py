"""Reading: the same predictions as before, or an error where something is damaged."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.artifacts.models import CODES, IMAGES, NAMES, NEW_IMAGES, assert_same, fitted, rewrite
from transferkit import artifacts
from transferkit.digests import file_digest
from transferkit.estimators import TransferClassifier

pytestmark = pytest.mark.suites

ROOT = Path(__file__).parents[2]
FRESH = """
import sys
import numpy as np
from transferkit import TransferClassifier
model = TransferClassifier.load(sys.argv[1], store=False)
images = np.load(sys.argv[2])
np.savez(sys.argv[3], names=model.predict(images), proba=model.predict_proba(images))
"""


def test_in_a_fresh_process_at_another_place(model, saved, tmp_path):
    moved = tmp_path / "elsewhere" / "it"
    moved.parent.mkdir()
    saved.rename(moved)
    np.save(tmp_path / "images.npy", NEW_IMAGES)
    subprocess.run(
        [sys.executable, "-c", FRESH, moved, tmp_path / "images.npy", tmp_path / "out.npz"],
        check=True,
        cwd=ROOT,
    )
    result = np.load(tmp_path / "out.npz")
    assert result["names"].tolist() == model.predict(NEW_IMAGES).tolist()
    np.testing.assert_array_equal(result["proba"], model.predict_proba(NEW_IMAGES))


def test_what_is_loaded(model, saved):
    again = assert_same(saved, model)
    np.testing.assert_array_equal(again.train_ids_, model.train_ids_)
    assert again.train_ids_.shape == (18, 16)
    assert [row.tobytes() for row in again.train_ids_] == list(model.extractor_.extract(IMAGES).ids)
    assert again.failures_ == []
    refitted = again.fit(IMAGES, NAMES[CODES])  # it is a whole estimator
    np.testing.assert_array_equal(
        refitted.predict_proba(NEW_IMAGES), model.predict_proba(NEW_IMAGES)
    )


def test_saved_again(saved, model, tmp_path):
    second = TransferClassifier.load(saved).save(tmp_path / "second")
    assert_same(second, model)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["a", "ß", "long name"]),
        np.array([5, -3, 2**40]),
        np.array([1, 2, 3], dtype=np.uint8),
        np.array([0.5, 0.1, 2.0]).round(),
        np.array(["x", "yy", "z"], dtype=object),
        np.array([True, False, True]),
    ],
    ids=["str", "int", "uint8", "float", "object", "bool"],
)
def test_types_of_labels(labels, tmp_path):
    model = fitted(labels=labels)
    again = assert_same(model.save(tmp_path / "m"), model)
    assert again.classes_.dtype == model.classes_.dtype == labels.dtype
    assert again.predict(NEW_IMAGES).dtype == labels.dtype


@pytest.fixture
def with_weights(weights, tmp_path):
    return fitted(pretrained=True, weights=weights).save(tmp_path / "m")


def flips(path, n):
    """Damage a file in one bit at a time; leave it as it was."""
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in [0, len(content) - 1, *rng.integers(0, len(content), n).tolist()]:
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        yield at
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["head.skops", "train_ids.safetensors", "backbone/weights.safetensors"]
)
def test_any_flipped_bit_of_a_listed_file_is_noticed(with_weights, name):
    assert name in artifacts.describe(with_weights)["files"]
    n_noticed = 0
    for _ in flips(with_weights / name, 10):
        with pytest.raises(ValueError, match=rf"is damaged: '{name}' isn't what was saved"):
            artifacts.load(with_weights)
        n_noticed += 1
    assert n_noticed == 12
    artifacts.load(with_weights)


def test_every_file_is_listed_but_the_two_that_tell(with_weights):
    files = {p.relative_to(with_weights).as_posix() for p in with_weights.rglob("*") if p.is_file()}
    told = {"model.json", "README.md"}
    assert set(artifacts.describe(with_weights)["files"]) == files - told


def test_any_flipped_bit_of_the_description_is_noticed_or_harmless(with_weights):
    expected = artifacts.load(with_weights)
    n = n_noticed = 0
    for at in flips(with_weights / "model.json", 100):
        n += 1
        try:
            again = artifacts.load(with_weights)
        except ValueError:
            n_noticed += 1
            continue
        # A blank became another kind of blank.
        assert again.classes.tolist() == expected.classes.tolist(), at
        assert again.keys == expected.keys, at
    assert n_noticed > 0.8 * n


@pytest.mark.parametrize("name", ["head.skops", "train_ids.safetensors", "model.json"])
@pytest.mark.parametrize("kind", ["missing", "empty", "half"])
def test_damaged_files(saved, name, kind):
    file = saved / name
    content = file.read_bytes()
    if kind == "missing":
        file.unlink()
    else:
        file.write_bytes(b"" if kind == "empty" else content[: len(content) // 2])
    error = FileNotFoundError if (name, kind) == ("model.json", "missing") else ValueError
    with pytest.raises(error, match=name):
        TransferClassifier.load(saved)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", "missing"])
def test_files_outside_the_folder_are_refused(saved, tmp_path, name):
    (tmp_path / "secret").write_bytes(b"x")
    digest = file_digest(tmp_path / "secret").hex()
    rewrite(saved, lambda c: c["files"].update({name: digest}))
    with pytest.raises(ValueError, match="lacks its file"):
        TransferClassifier.load(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("precision"),
        lambda c: c["backbone"].pop("preprocess"),
        lambda c: c["backbone"].update(name=5),
        lambda c: c.update(classes=["a", "b"]),
        lambda c: c.update(classes=5),
        lambda c: c.update(classes_dtype="zz"),
        lambda c: c.update(task="regression"),
        lambda c: c.update(keys={}),
        lambda c: c.update(features=["stage2.avg"]),
        lambda c: c.update(files=[]),
    ],
    ids=str.split("no-precision no-preprocess name too-few classes dtype task keys features files"),
)
def test_values_that_make_no_model(saved, change):
    rewrite(saved, change)
    with pytest.raises(ValueError, match=r"model.*(can't be used|damaged|doesn't give any more)"):
        artifacts.load(saved)


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["head.skops", "train_ids.safetensors", "model.json"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_refused_at_once(saved, name, kind):
    (saved / name).unlink()
    if kind == "pipe":
        os.mkfifo(saved / name)
    elif kind == "device":
        (saved / name).symlink_to("/dev/zero")
    else:
        (saved / name).mkdir()
    error = FileNotFoundError if name == "model.json" else ValueError
    with pytest.raises(error, match=name):
        artifacts.load(saved)


def test_sizes_that_cannot_be_are_refused_unread(saved):
    """Sparse files of 26 GB: the name and the size of a model's, and nothing in them."""
    for name in ("model.json", "head.skops"):
        content = (saved / name).read_bytes()
        os.truncate(saved / name, 26 * 10**9)
        start = time.perf_counter()
        with pytest.raises(ValueError, match=f"{name}.*(larger than|bytes)"):
            artifacts.load(saved)
        assert time.perf_counter() - start < 5
        (saved / name).write_bytes(content)


def test_features_that_are_others_now(saved):
    rewrite(saved, lambda c: c["backbone"]["preprocess"].update(crop_pct=0.5))
    with pytest.raises(ValueError, match="its preprocessing, arguments or features are others now"):
        TransferClassifier.load(saved)
