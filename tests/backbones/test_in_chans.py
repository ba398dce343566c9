"""Backbones for images of any number of channels."""

import numpy as np
import pytest
import timm
import torch

from transferkit.backbones import create_backbone, layers_of, resolve_backbone

CHANNELS = {"in_chans": 5, "mean": 0.4, "std": (0.1, 0.2, 0.3, 0.4, 0.5)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights for three channels."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


def first_layer(backbone):
    return next(m for m in backbone.network.modules() if isinstance(m, torch.nn.Conv2d)).weight


def test_the_first_layer_is_timm_s(weights):
    backbone = create_backbone("test_resnet", weights=weights, image_size=64, **CHANNELS)
    expected = timm.create_model(
        "test_resnet", pretrained=True, in_chans=5, pretrained_cfg_overlay={"file": str(weights)}
    ).eval()
    pixels = torch.randint(256, (2, 5, 64, 64), dtype=torch.uint8)
    images = (pixels / 255 - 0.4) / torch.tensor(CHANNELS["std"]).view(1, 5, 1, 1)
    torch.testing.assert_close(backbone.normalize(pixels), images)
    with torch.no_grad():
        found = backbone(images, ["pre_logits", "stage2"])
        torch.testing.assert_close(found.pre_logits, expected.forward_head(
            expected.forward_features(images), pre_logits=True
        ))  # fmt: skip
    # And so is that of stages alone, which timm loads without checking.
    stages = create_backbone(
        "test_resnet", weights=weights, image_size=64, layers=["stage2"], **CHANNELS
    )
    with torch.no_grad():
        torch.testing.assert_close(stages(images, ["stage2"]).maps["stage2"], found.maps["stage2"])


def test_the_number_is_in_the_key_unless_it_is_3(weights):
    plain = resolve_backbone("test_resnet", weights=weights)
    said = resolve_backbone("test_resnet", weights=weights, in_chans=3)
    assert plain == said
    assert "in_chans" not in plain.arguments
    five = resolve_backbone("test_resnet", weights=weights, **CHANNELS)
    assert five.arguments["in_chans"] == five.preprocess.in_chans == 5
    assert five.preprocess.mean == (0.4,) * 5
    assert not five.preprocess.is_rgb
    assert layers_of(five) == layers_of(plain)
    own = resolve_backbone("test_resnet", weights=weights, mean=plain.preprocess.mean)
    assert own == plain


def test_the_bundled_one_keeps_its_normalisation():
    plain = resolve_backbone("bundled")
    stated = resolve_backbone("bundled", value_range=(0, 4095))
    assert stated.preprocess.mean == plain.preprocess.mean
    assert stated.preprocess.value_range == (0.0, 4095.0)
    with pytest.raises(ValueError, match="no mean was given"):
        resolve_backbone("bundled", in_chans=4)
    four = create_backbone("bundled", in_chans=4, mean=0.5, std=0.5)
    assert first_layer(four).shape[1] == 4


def test_a_module_for_networks_of_your_own():
    module = create_backbone(
        "test_resnet", pretrained=False, image_size=64, features_only=True, trainable=True,
        **CHANNELS,
    )  # fmt: skip
    pixels = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (2, 5, 64, 64))).float()
    maps = module(module.normalize(pixels))
    assert maps["stage4"].shape[2:] == (2, 2)


def test_torchvision_s_take_three():
    with pytest.raises(ValueError, match="takes 3 channels, not 5; choose one of timm's"):
        resolve_backbone("torchvision:alexnet", pretrained=False, **CHANNELS)
