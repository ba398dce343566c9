"""Weights as people hand them on: the same tensors give the same features."""

import argparse
import pathlib
import pickle

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from transferkit.backbones import create_backbone, resolve_backbone

pytestmark = pytest.mark.suites

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def network(name="mobilenetv3_small_050", seed=7, **arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(name, **arguments).eval()


def behind(prefix, tensors):
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def trained(tensors):
    """What timm's own training script keeps beside the weights."""
    return {
        "epoch": 3,
        "arch": "resnet10t",
        "state_dict": behind("module.", tensors),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]},
        "args": argparse.Namespace(lr=0.1, output=pathlib.Path("out")),
        "metric": np.float64(81.5),
        "version": 2,
    }


def ema(tensors):
    plain = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    return {"state_dict": plain, "state_dict_ema": behind("module.", tensors)}


def lightning(tensors):
    return {
        "state_dict": {**behind("model.", tensors), "loss.weight": torch.ones(3)},
        "hyper_parameters": {"lr": 0.1},
        "pytorch-lightning_version": "2.4.0",
    }


LAYOUTS = {
    "plain": dict,
    "state_dict": lambda t: {"state_dict": t, "epoch": 3},
    "no ema": lambda t: {"state_dict": t, "state_dict_ema": None},
    "ema": ema,
    "timm's script": trained,
    "lightning": lightning,
    "compiled in parallel": lambda t: {"model": behind("module._orig_mod.", t)},
    "compiled": lambda t: behind("_orig_mod.", t),
    "backbone": lambda t: {"model_state_dict": behind("encoder.backbone.", t)},
    "own name": lambda t: {"my_network": t, "epoch": 3, "rng": torch.zeros(8)},
}
ENDINGS = (".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".PTH")


@torch.no_grad()
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n_classes", [3, 1000, 0])
def test_every_layout_gives_the_same_features(tmp_path, layout, n_classes):
    model = network("resnet10t", num_classes=n_classes or 10)
    tensors = model.state_dict()
    if not n_classes:
        tensors = {name: t for name, t in tensors.items() if not name.startswith("fc")}
    path = tmp_path / f"w{ENDINGS[len(layout) % len(ENDINGS)]}"
    torch.save(LAYOUTS[layout](tensors), path)
    save_file(tensors, tmp_path / "w.safetensors")
    backbone = create_backbone("resnet10t", weights=path)
    expected = create_backbone("resnet10t", weights=tmp_path / "w.safetensors")
    assert backbone.channels == expected.channels
    assert backbone.channels.get("logits", 0) == n_classes
    layers = list(backbone.layers)
    found, wanted = backbone(IMAGES, layers), expected(IMAGES, layers)
    assert torch.equal(found.pre_logits, wanted.pre_logits)
    assert n_classes == 0 or torch.equal(found.logits, wanted.logits)
    for layer, values in found.maps.items():
        assert torch.equal(values, wanted.maps[layer])
    stages = create_backbone("resnet10t", weights=path, layers=["stage2"])
    assert torch.equal(stages(IMAGES, ["stage2"]).maps["stage2"], wanted.maps["stage2"])


@torch.no_grad()
@pytest.mark.parametrize("ending", [*ENDINGS, ".safetensors", ".SafeTensors"])
def test_every_ending(tmp_path, ending):
    model = network(num_classes=4)
    path = tmp_path / f"w{ending}"
    if "safe" in ending.lower():
        save_file(behind("module.", model.state_dict()), path)
    else:
        torch.save(model.state_dict(), path)
    backbone = create_backbone("mobilenetv3_small_050", weights=path)
    torch.testing.assert_close(backbone(IMAGES, ["logits"]).logits, model(IMAGES))
    again = pickle.loads(pickle.dumps(backbone))
    assert torch.equal(again(IMAGES, ["logits"]).logits, backbone(IMAGES, ["logits"]).logits)


@torch.no_grad()
def test_the_format_before_zip_files(tmp_path):
    model = network(num_classes=4)
    path = tmp_path / "old.pth"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=False)
    backbone = create_backbone("mobilenetv3_small_050", weights=path)
    torch.testing.assert_close(backbone(IMAGES, ["logits"]).logits, model(IMAGES))


@torch.no_grad()
def test_two_classifiers_of_one_network(tmp_path):
    model = network("deit_tiny_distilled_patch16_224", img_size=64, depth=2, num_classes=5)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    backbone = create_backbone(
        "deit_tiny_distilled_patch16_224", weights=tmp_path / "w.pth", image_size=64, depth=2
    )
    assert backbone.channels["logits"] == 5
    torch.testing.assert_close(backbone(IMAGES, ["logits"]).logits, model(IMAGES))


@torch.no_grad()
@pytest.mark.parametrize("n_classes", [3, 1000, 0])
def test_torchvision(tmp_path, n_classes):
    import torchvision

    model = torchvision.models.alexnet(weights=None, num_classes=n_classes or 10).eval()
    tensors = model.state_dict()
    if not n_classes:
        tensors = {name: t for name, t in tensors.items() if not name.startswith("classifier.6")}
    torch.save({"state_dict": behind("module.", tensors)}, tmp_path / "w.pth")
    backbone = create_backbone("torchvision:alexnet", weights=tmp_path / "w.pth", image_size=64)
    assert backbone.channels.get("logits", 0) == n_classes
    found = backbone(IMAGES, [layer for layer in backbone.layers if layer != "final"])
    rows = model.classifier[:-1](model.avgpool(model.features(IMAGES)).flatten(1))
    torch.testing.assert_close(found.pre_logits, rows)
    if n_classes:
        torch.testing.assert_close(found.logits, model(IMAGES))


def test_the_header_alone_is_read_to_count_classes(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_file(network("resnet10t", num_classes=3).state_dict(), path)
    monkeypatch.setattr("transferkit.backbones._tensors.load_file", None)
    assert resolve_backbone("resnet10t", weights=path).arguments["num_classes"] == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3}, "holds 'epoch', which isn't the state dict of one network; save model"),
        ({}, "holds nothing, which isn't the state dict of one network"),
        ([1, 2], "holds a list, not tensors with their names; save model.state_dict()"),
        (
            {
                n: {f"layer.{i}.weight": torch.ones(2) for i in range(3)}
                for n in ("student", "teacher")
            },
            "holds 'student', 'teacher', which isn't the state dict of one network",
        ),
    ],
)
def test_a_file_without_a_network(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=message):
        resolve_backbone("resnet10t", weights=tmp_path / "w.pth")


def test_two_networks_side_by_side(tmp_path):
    tensors = network("resnet10t").state_dict()
    content = behind("module.encoder_q.", tensors) | behind("module.encoder_k.", tensors)
    torch.save({"state_dict": content}, tmp_path / "w.pth")
    with pytest.raises(
        ValueError, match=r"several networks \(module.encoder_k., module.encoder_q.\); save the"
    ):
        resolve_backbone("resnet10t", weights=tmp_path / "w.pth")
