"""Reading: the same predictions as before, or an error where something is damaged."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.artifacts.models import CODES, IMAGES, NAMES, NEW_IMAGES, assert_same, fitted, rewrite
from transferkit import artifacts
from transferkit.digests import file_digest
from transferkit.estimators import TransferClassifier

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


def test_any_flipped_byte_is_noticed_or_harmless(weights, tmp_path):
    model = fitted(pretrained=True, weights=weights)
    path = model.save(tmp_path / "m")
    expected = model.predict_proba(NEW_IMAGES)
    classes = model.classes_.tolist()
    rng = np.random.default_rng(0)
    n_noticed = 0
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        content = file.read_bytes()
        # model.json holds the digests of the others: nearly everything in it is looked at.
        n = 150 if file.name == "model.json" else 15
        for at in rng.integers(0, len(content), n).tolist():
            damaged = bytearray(content)
            damaged[at] ^= 1 << int(rng.integers(8))
            file.write_bytes(damaged)
            try:
                again = TransferClassifier.load(path)
            except (ValueError, FileNotFoundError):
                n_noticed += 1
                continue
            assert again.classes_.tolist() == classes, (file, at)
            np.testing.assert_array_equal(again.predict_proba(NEW_IMAGES), expected)
        file.write_bytes(content)
    assert n_noticed >= 100
    assert_same(path, model)


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


def test_features_that_are_others_now(saved):
    rewrite(saved, lambda c: c["backbone"]["preprocess"].update(crop_pct=0.5))
    with pytest.raises(ValueError, match="its preprocessing, arguments or features are others now"):
        TransferClassifier.load(saved)
