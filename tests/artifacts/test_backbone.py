"""Backbones: resolved again as they were, with or without their weights in the folder."""

import shutil
import socket

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.artifacts.models import (
    NEW_IMAGES,
    Evil,
    assert_same,
    fitted,
    keys_of,
    replace_file,
    rewrite,
)
from transferkit.estimators import TransferClassifier


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


def test_hostile_weights_are_not_executed(weights, tmp_path):
    trace = tmp_path / "executed"
    pth = tmp_path / "mine.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), pth)
    path = fitted(pretrained=True, weights=pth).save(tmp_path / "m")
    torch.save({"state_dict": Evil(trace)}, tmp_path / "hostile")
    replace_file(path, "backbone/weights.pth", tmp_path / "hostile")
    with pytest.raises(ValueError, match=r"weights\.pth' holds a pickle that could run code"):
        TransferClassifier.load(path, store=False)
    assert not trace.exists()


# ---- the network --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hf-hub:org/name", "hf_hub:org/name@main", "HF-HUB:org/name"])
def test_a_strangers_model_opens_no_connection(tmp_path, monkeypatch, name):
    path = fitted().save(tmp_path / "m")
    rewrite(path, lambda content: content["backbone"].update(name=name, pretrained=True))

    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ValueError, match=f"wants the weights of '{name}', which aren't on this"):
        TransferClassifier.load(path)


def test_a_model_of_the_hubs_loads_from_its_cache(tmp_path, monkeypatch, local_dir):
    """Laid out as huggingface_hub lays it out; nothing of its code is replaced."""
    model = fitted(name=f"local-dir:{local_dir}", pretrained=True, image_size=None)
    path = model.save(tmp_path / "m")
    revision = "0" * 40
    repository = tmp_path / "hub" / "models--org--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    shutil.copytree(local_dir, repository / "snapshots" / revision)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    rewrite(path, lambda content: content["backbone"].update(name="hf-hub:org/name"))
    again = TransferClassifier.load(path, store=False)
    assert again.extractor_.resolve().name == "hf-hub:org/name"
    assert keys_of(again) == keys_of(model)
    np.testing.assert_array_equal(again.predict_proba(NEW_IMAGES), model.predict_proba(NEW_IMAGES))
