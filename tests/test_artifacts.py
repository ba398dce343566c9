import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from tests.pictures import coloured
from transferkit import artifacts
from transferkit.digests import file_digest
from transferkit.estimators import FeatureExtractor, TransferClassifier

ROOT = Path(__file__).parents[1]
IMAGES, CODES = coloured(6)
NEW_IMAGES, _ = coloured(3, seed=1)
NAMES = np.array(["red", "grün", "blue"])


def fitted(head="linear", labels=NAMES, **options):
    options = {"pretrained": False, "image_size": 64, **options}
    name = options.pop("name", "test_resnet")
    return TransferClassifier(FeatureExtractor(name, **options), head).fit(IMAGES, labels[CODES])


def keys_of(model):
    spec = model.extractor_.resolve()
    options = {"precision": model.extractor_.precision, "storage": model.extractor_.storage}
    return [spec.feature_spec(name, **options).key for name in model.extractor_.feature_names]


def assert_same(path, model):
    """What was loaded predicts the same, from other rows than those in the store."""
    again = TransferClassifier.load(path, store=False)
    assert keys_of(again) == keys_of(model)
    np.testing.assert_array_equal(again.predict(NEW_IMAGES), model.predict(NEW_IMAGES))
    np.testing.assert_array_equal(again.predict_proba(NEW_IMAGES), model.predict_proba(NEW_IMAGES))
    return again


def rewrite(path, change):
    """Change model.json as somebody would who knows how it is made."""
    file = path / "model.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    content["digest"] = artifacts._digest(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def replace_file(path, name, source):
    """Put another file in, and its digest into model.json."""
    shutil.copyfile(source, path / name)
    rewrite(path, lambda c: c["files"].update({name: file_digest(path / name).hex()}))


@pytest.fixture
def model():
    return fitted()


@pytest.fixture
def saved(model, tmp_path):
    return model.save(tmp_path / "model")


@pytest.fixture
def weights(tmp_path):
    """A weights file of a network with 7 classes, that is no timm release."""
    torch.manual_seed(5)
    network = timm.create_model("test_resnet", num_classes=7)
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


@pytest.fixture
def local_dir(tmp_path, weights):
    folder = tmp_path / "local"
    folder.mkdir()
    shutil.copyfile(weights, folder / "model.safetensors")
    config = {
        "architecture": "test_resnet",
        "num_classes": 7,
        "pretrained_cfg": {"input_size": [3, 64, 64], "crop_pct": 0.8, "mean": [0.4, 0.4, 0.4],
                           "std": [0.2, 0.2, 0.2], "num_classes": 7,
                           "first_conv": "conv1.0", "classifier": "fc"},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


# ---- there and back -----------------------------------------------------------------

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


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 3},
        {"image_size": (96, 64), "crop_pct": 0.7, "crop_mode": "border"},
        {"interpolation": "bilinear", "exif": True, "crop_mode": "squash"},
        {"arguments": {"output_stride": 16}},
        {"name": "test_vit", "image_size": 96},
        {"name": "test_vit", "image_size": 64, "arguments": {"global_pool": "avg"}},
        {"features": ["stage3.avg", "pre_logits"]},
        {"features": "stage2"},
        {"storage": "float16"},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_options_survive(options, tmp_path):
    model = fitted(**options)
    again = assert_same(model.save(tmp_path / "m"), model)
    assert again.extractor_.resolve().preprocess == model.extractor_.resolve().preprocess
    assert again.extractor_.resolve().arguments == model.extractor_.resolve().arguments


@pytest.mark.parametrize(
    "head",
    [
        RandomForestClassifier(5, random_state=0),
        make_pipeline(StandardScaler(), SVC()),
        KNeighborsClassifier(3),
        LinearSVC(),
    ],
    ids=lambda head: type(head).__name__,
)
def test_heads_of_scikit_learn(head, tmp_path):
    model = fitted(head)
    again = TransferClassifier.load(model.save(tmp_path / "m"))
    assert again.predict(NEW_IMAGES).tolist() == model.predict(NEW_IMAGES).tolist()
    for method in ("predict_proba", "decision_function"):
        assert hasattr(again, method) == hasattr(model, method)
        if hasattr(model, method):
            np.testing.assert_array_equal(
                getattr(again, method)(NEW_IMAGES), getattr(model, method)(NEW_IMAGES)
            )


def test_nothing_is_pickled(saved, tmp_path):
    forest = fitted(RandomForestClassifier(3)).save(tmp_path / "forest")
    for folder in (saved, forest):
        names = {p.name for p in folder.iterdir()}
        assert names == {"model.json", "README.md", "head.skops", "train_ids.safetensors"}
        with zipfile.ZipFile(folder / "head.skops") as archive:
            assert archive.namelist()
            assert {Path(name).suffix for name in archive.namelist()} <= {".json", ".npy"}
            for name in archive.namelist():
                if name.endswith(".npy"):
                    with archive.open(name) as file:
                        np.load(file, allow_pickle=False)


# ---- weights ------------------------------------------------------------------------


def test_a_weights_file_goes_along(weights, tmp_path):
    model = fitted(pretrained=True, weights=weights)
    path = model.save(tmp_path / "m")
    expected = model.predict_proba(NEW_IMAGES)
    keys = keys_of(model)
    weights.unlink()
    moved = path.rename(tmp_path / "moved")
    again = TransferClassifier.load(moved, store=False)
    np.testing.assert_array_equal(again.predict_proba(NEW_IMAGES), expected)
    assert keys_of(again) == keys
    assert (moved / "backbone" / "weights.safetensors").is_file()


@pytest.mark.parametrize("is_relative", [False, True])
def test_a_local_folder_goes_along(local_dir, tmp_path, is_relative, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"local-dir:{local_dir.name if is_relative else local_dir}"
    model = fitted(name=name, pretrained=True, image_size=None)
    assert model.extractor_.resolve().preprocess.crop_pct == 0.8
    path = model.save(tmp_path / "m")
    expected, keys = model.predict_proba(NEW_IMAGES), keys_of(model)
    shutil.rmtree(local_dir)
    again = TransferClassifier.load(path.rename(tmp_path / "moved"), store=False)
    np.testing.assert_array_equal(again.predict_proba(NEW_IMAGES), expected)
    assert keys_of(again) == keys
    assert (tmp_path / "moved" / "backbone" / "config.json").is_file()


@pytest.mark.parametrize("kind", ["weights", "local-dir", "relative local-dir"])
def test_weights_that_stay_where_they_are(weights, local_dir, tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {
        "weights": {"weights": "mine.safetensors"},
        "local-dir": {"name": f"local-dir:{local_dir}", "image_size": None},
        "relative local-dir": {"name": "local-dir:local", "image_size": None},
    }[kind]
    model = fitted(pretrained=True, **options)
    path = model.save(tmp_path / "m", include_weights=False)
    assert not (path / "backbone").exists()
    (tmp_path / "other").mkdir()
    expected = model.predict_proba(NEW_IMAGES)
    monkeypatch.chdir(tmp_path / "other")
    again = TransferClassifier.load(path, store=False)
    np.testing.assert_array_equal(again.predict_proba(NEW_IMAGES), expected)
    # Other weights in the same place are noticed; and so is that there are none.
    file = weights if kind == "weights" else local_dir / "model.safetensors"
    torch.manual_seed(6)
    save_file(timm.create_model("test_resnet", num_classes=7).state_dict(), file)
    with pytest.raises(ValueError, match=r"its weights were sha256:.*train it again, or restore"):
        TransferClassifier.load(path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"doesn't exist|holds no weights"):
        TransferClassifier.load(path)


# ---- writing ------------------------------------------------------------------------


def test_what_is_there_is_not_overwritten(model, saved, tmp_path):
    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    with pytest.raises(FileExistsError, match=r"holds a model already.*overwrite=True"):
        model.save(saved)
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before
    other = fitted(labels=np.array([1, 2, 3]))
    assert other.save(saved, overwrite=True) == saved
    assert_same(saved, other)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("kind", ["file", "folder", "full folder"])
def test_what_is_no_model_is_never_overwritten(model, tmp_path, kind):
    path = tmp_path / "place"
    if kind == "file":
        path.write_text("mine")
    else:
        path.mkdir()
    if kind == "full folder":
        (path / "mine").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="exists and is no model"):
            model.save(path, overwrite=overwrite)
    assert path.exists()
    assert kind != "full folder" or (path / "mine").read_text() == "mine"


@pytest.mark.parametrize("step", ["_save_backbone", "_save_head", "save_file", "_save_json"])
@pytest.mark.parametrize("is_there", [False, True])
def test_interrupted_while_saving(model, tmp_path, monkeypatch, step, is_there):
    path = tmp_path / "folder" / "m"
    if is_there:
        model.save(path)
    other = fitted(labels=np.array([1, 2, 3]))

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            other.save(path, overwrite=True)
    assert [p.name for p in path.parent.iterdir()] == (["m"] if is_there else [])
    if is_there:
        assert_same(path, model)


def test_a_model_that_cannot_be_replaced_stays(model, tmp_path, monkeypatch):
    path = model.save(tmp_path / "m")
    rename = Path.rename

    def fail_to_put_the_new_one(self, target):
        if Path(target) == path and self.name != "old":
            raise OSError("no space")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_to_put_the_new_one)
    with pytest.raises(OSError, match="no space"):
        fitted(labels=np.array([1, 2, 3])).save(path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert_same(path, model)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_others_may_read_it_as_they_may_other_folders(saved, tmp_path):
    (tmp_path / "plain").mkdir()
    assert saved.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_unfitted_model_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="not fitted yet"):
        TransferClassifier(FeatureExtractor("test_resnet")).save(tmp_path / "m")


def test_a_head_that_is_not_safe_is_not_saved(tmp_path):
    model = fitted(make_pipeline(FunctionTransformer(os.path.realpath), SVC()).set_params(
        functiontransformer__func=None))  # fmt: skip
    model.save(tmp_path / "harmless")
    model.head_.steps[0][1].func = os.path.basename
    with pytest.raises(ValueError, match=r"Pipeline can't be saved safely.*basename"):
        model.save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


# ---- reading what may be damaged, or hostile ------------------------------------------


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


def test_a_class_renamed_in_the_file_is_noticed(saved):
    file = saved / "model.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("grün", "grau"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"model\.json' is damaged: it isn't what was saved"):
        TransferClassifier.load(saved)
    file.write_text(json.dumps(json.loads(text)), encoding="utf-8")  # only spaces differ
    assert TransferClassifier.load(saved).classes_.tolist() == ["blue", "grün", "red"]


class Evil:
    """Leaves a trace where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["function", "pickle", "type"])
def test_a_hostile_head_is_not_executed(saved, tmp_path, kind):
    from skops.io import dump

    trace = tmp_path / "executed"
    hostile = tmp_path / "hostile"
    if kind == "function":
        dump(FunctionTransformer(func=os.system), hostile)
    elif kind == "pickle":
        hostile.write_bytes(pickle.dumps(Evil(trace)))
    else:
        dump({"head": SVC()}, hostile)
        with zipfile.ZipFile(hostile) as archive:
            schema = json.loads(archive.read("schema.json"))
        schema |= {"__class__": "Popen", "__module__": "subprocess", "__loader__": "ObjectNode"}
        with zipfile.ZipFile(hostile, "w") as archive:
            archive.writestr("schema.json", json.dumps(schema))
    replace_file(saved, "head.skops", hostile)
    with pytest.raises(ValueError, match=r"types that are not allowed|can't be read"):
        TransferClassifier.load(saved)
    assert not trace.exists()


def test_the_type_is_named(saved, tmp_path):
    from skops.io import dump

    dump(FunctionTransformer(func=os.system), tmp_path / "hostile")
    replace_file(saved, "head.skops", tmp_path / "hostile")
    with pytest.raises(ValueError, match=r"not allowed \(posix\.system\) and was not loaded"):
        TransferClassifier.load(saved)


def test_hostile_weights_are_not_executed(weights, tmp_path):
    trace = tmp_path / "executed"
    pth = tmp_path / "mine.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), pth)
    path = fitted(pretrained=True, weights=pth).save(tmp_path / "m")
    torch.save({"state_dict": Evil(trace)}, tmp_path / "hostile")
    replace_file(path, "backbone/weights.pth", tmp_path / "hostile")

    def forge(content):
        digest = content["files"]["backbone/weights.pth"]
        content["weights"] = f"sha256:{digest}"
        content["keys"] = {"pre_logits": forged_key}

    spec = FeatureExtractor(
        "test_resnet", weights=path / "backbone" / "weights.pth", image_size=64
    ).resolve()
    forged_key = spec.feature_spec("pre_logits").key
    rewrite(path, forge)
    model = TransferClassifier.load(path, store=False)
    with pytest.raises(ValueError, match=r"weights\.pth' holds a pickle that could run code"):
        model.predict(NEW_IMAGES)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", "missing"])
def test_files_outside_the_folder_are_refused(saved, tmp_path, name):
    (tmp_path / "secret").write_bytes(b"x")
    digest = file_digest(tmp_path / "secret").hex()
    rewrite(saved, lambda c: c["files"].update({name: digest}))
    with pytest.raises(ValueError, match="lacks its file"):
        TransferClassifier.load(saved)


def test_what_is_no_model(saved, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is no saved model: it has no model\.json"):
        TransferClassifier.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="is no saved model"):
        TransferClassifier.load(tmp_path / "nowhere")
    for text in ("[]", '{"format": "other"}', "3"):
        (saved / "model.json").write_text(text)
        with pytest.raises(ValueError, match="doesn't describe a transferkit model"):
            TransferClassifier.load(saved)


@pytest.mark.parametrize("version", [2, None, "1"])
def test_a_newer_format(saved, version):
    rewrite(saved, lambda c: c.update(version=version))
    with pytest.raises(ValueError, match=f"format version {version!r}; .* reads 1: upgrade it"):
        TransferClassifier.load(saved)


@pytest.mark.parametrize("name", ["keys", "classes", "files", "backbone"])
def test_an_entry_is_missing(saved, name):
    rewrite(saved, lambda c: c.pop(name))
    with pytest.raises(ValueError, match=f"damaged: it lacks {name}"):
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
