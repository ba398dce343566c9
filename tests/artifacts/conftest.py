"""Trained models and weights files for all tests of this folder."""

import json
import shutil

import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.artifacts.models import fitted


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
