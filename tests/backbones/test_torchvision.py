"""AlexNet and GoogLeNet against torchvision's own forward pass."""

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from tests.pictures import picture
from transferkit import FeatureExtractor, TransferClassifier, create_backbone
from transferkit.backbones import resolve_backbone, search_backbones
from transferkit.forward import Forward
from transferkit.pooling import parse_feature

pytestmark = pytest.mark.suites

NAMES = ("alexnet", "googlenet")


def plain(name, **arguments):
    if name == "googlenet":
        arguments |= {"init_weights": False, "aux_logits": True}
    torch.manual_seed(0)
    return getattr(torchvision.models, name)(weights=None, **arguments).eval()


@pytest.fixture
def images():
    return torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 96, 96))).float()


@pytest.mark.parametrize("name", NAMES)
def test_layers_are_those_of_the_network(name, images):
    backbone = create_backbone(f"torchvision:{name}", pretrained=False)
    with torch.inference_mode():
        maps = backbone(images, list(backbone.layers))
        torch.testing.assert_close(maps.logits, plain(name)(images), rtol=0, atol=0)
    assert maps.pre_logits.shape == (2, backbone.channels["pre_logits"])
    assert list(maps.maps) == list(backbone.strides)
    for layer, found in maps.maps.items():
        assert found.shape[1] == backbone.channels[layer]
        size = images.shape[-1] // backbone.strides[layer]
        assert abs(found.shape[-1] - size) <= 1  # AlexNet's convolutions leave out borders


@pytest.mark.parametrize("name", NAMES)
def test_maps_equal_those_of_hooks(name, images):
    backbone = create_backbone(f"torchvision:{name}", pretrained=False)
    modules = {"alexnet": ("features.4", "stage1"), "googlenet": ("inception3b", "stage2")}
    module, layer = modules[name]
    network = plain(name)
    seen = []
    hook = network.get_submodule(module).register_forward_hook(lambda *a: seen.append(a[2].clone()))
    with torch.inference_mode():
        network(images)
        found = backbone(images, [layer]).maps[layer]
    hook.remove()
    torch.testing.assert_close(found, seen[0], rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_weights_from_a_file_and_a_saved_model(name, tmp_path):
    network = plain(name)
    path = tmp_path / "w.safetensors"
    save_file(network.state_dict(), path)
    extractor = FeatureExtractor(f"torchvision:{name}", weights=path, image_size=96, store=False)
    pictures = np.stack([picture(i) for i in range(6)])
    rows = extractor.transform(pictures)
    spec = extractor.resolve()
    forward = Forward(spec, [parse_feature("pre_logits")])
    assert np.isfinite(rows).all()
    assert rows.shape[1] == forward.backbone.channels["pre_logits"]
    model = TransferClassifier(extractor).fit(pictures, [0, 1] * 3)
    model.save(tmp_path / "model")
    expected = model.predict_proba(pictures)
    path.unlink()
    loaded = TransferClassifier.load(tmp_path / "model", store=False)
    np.testing.assert_array_equal(loaded.predict_proba(pictures), expected)


def test_googlenet_undoes_the_normalisation_of_its_weights(tmp_path, images):
    network = plain("googlenet", transform_input=True)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    backbone = create_backbone("torchvision:googlenet", weights=tmp_path / "w.safetensors")
    with torch.inference_mode():
        torch.testing.assert_close(backbone(images, ["logits"]).logits, network(images))


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'alexnet'"):
        resolve_backbone("torchvision:alexnett", False)
    with pytest.raises(ValueError, match="known: imagenet1k_v1"):
        resolve_backbone("torchvision:alexnet.v9", False)
    with pytest.raises(ValueError, match="takes no creation arguments"):
        resolve_backbone("torchvision:alexnet", False, output_stride=8)
    with pytest.raises(ValueError, match="unknown layer"):
        create_backbone("torchvision:alexnet", False, layers=["stage7"])
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="don't fit torchvision:alexnet"):
        create_backbone("torchvision:alexnet", weights=tmp_path / "w.safetensors")


def test_they_are_found():
    found = {info.name: info for info in search_backbones("torchvision")}
    assert set(found) == {f"torchvision:{name}" for name in NAMES}
    for name in NAMES:
        network = plain(name)
        main = [p.numel() for n, p in network.named_parameters() if not n.startswith("aux")]
        assert found[f"torchvision:{name}"].n_parameters == sum(main)
