"""Which layers are activations and norms, whatever timm calls them."""

import importlib.util
import subprocess
import sys

import pytest
import timm
import timm.layers
import torch
from torch import nn

from transferkit.backbones import _timm_layers, activation_of, is_norm

X = torch.linspace(-4, 4, 101)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.ReLU(), "relu"),
        (nn.ReLU6(), "relu6"),
        (nn.SiLU(), "silu"),
        (timm.layers.Swish(), "silu"),
        (nn.Hardswish(), "hard_swish"),
        (timm.layers.HardSwish(), "hard_swish"),
        (nn.GELU(), "gelu"),
        (timm.layers.GELU(), "gelu"),
        (nn.GELU(approximate="tanh"), "gelu_tanh"),
        (timm.layers.GELUTanh(), "gelu_tanh"),
        (nn.Sigmoid(), "sigmoid"),
        (timm.layers.Sigmoid(), "sigmoid"),
        (nn.Hardsigmoid(), "hard_sigmoid"),
        (timm.layers.HardSigmoid(), "hard_sigmoid"),
    ],
)
def test_activations_are_what_they_are_called(module, name):
    assert activation_of(module) == name
    expected = {
        "relu": X.clamp(min=0),
        "relu6": X.clamp(0, 6),
        "silu": X * torch.sigmoid(X),
        "hard_swish": X * (X + 3).clamp(0, 6) / 6,
        "gelu": X * 0.5 * (1 + torch.erf(X / 2**0.5)),
        "gelu_tanh": X * 0.5 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (X + 0.044715 * X**3))),
        "sigmoid": 1 / (1 + torch.exp(-X)),
        "hard_sigmoid": (X + 3).clamp(0, 6) / 6,
    }
    torch.testing.assert_close(module(X.clone()), expected[name], atol=1e-6, rtol=1e-5)


class Louder(nn.ReLU):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("module", [Louder(), nn.Linear(2, 2), nn.Tanh(), nn.Identity()])
def test_other_modules_are_none(module):
    assert activation_of(module) is None


@pytest.mark.parametrize("gone", ["GELUTanh", "HardSwish", "RmsNorm", "Swish"])
def test_a_layer_that_timm_renames_is_only_not_recognised(monkeypatch, gone):
    swish = timm.layers.Swish()
    monkeypatch.delattr(timm.layers, gone)
    spec = importlib.util.spec_from_file_location("again", _timm_layers.__file__)
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert again.activation_of(swish) == (None if gone == "Swish" else "silu")
    assert again.activation_of(nn.SiLU()) == "silu"
    assert again.is_norm(nn.LayerNorm(2))


@pytest.mark.kills
def test_the_package_works_without_it():
    script = """
import timm.layers
del timm.layers.Swish
import numpy as np
from transferkit import FeatureExtractor
extractor = FeatureExtractor("test_efficientnet", pretrained=False, device="cpu", store=False)
print(extractor.transform([np.zeros((8, 8, 3), np.uint8)]).shape)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "(1, 256)\n", done.stderr[-2000:]


# (network, its norms' classes): counted by hand in timm's files.
@pytest.mark.parametrize(
    ("name", "norms"),
    [
        ("resnet10t", {"BatchNorm2d"}),
        ("convnext_atto", {"LayerNorm2d"}),
        ("vit_tiny_patch16_224", {"LayerNorm"}),
        ("efficientnet_lite0", {"BatchNormAct2d"}),
        ("nfnet_f0", set()),
        ("levit_128s", {"BatchNorm2d", "BatchNorm1d"}),
        ("poolformerv2_s12", {"GroupNorm1NoBias", "LayerNorm2d", "LayerNorm2dNoBias"}),
    ],
)
def test_norms(name, norms):
    with torch.device("meta"):
        network = timm.create_model(name)
    assert {type(m).__name__ for m in network.modules() if is_norm(m)} == norms


@pytest.mark.parametrize("name", ["RmsNorm", "RmsNorm2d", "SimpleNorm", "EvoNorm2dB0"])
def test_norms_of_timms_own(name):
    assert is_norm(getattr(timm.layers, name)(4))
