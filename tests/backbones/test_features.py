"""Backbones as torch modules that return maps. Expected maps come from the frozen `Backbone`."""

import copy
import pickle

import pytest
import timm
import torch
from torch import nn

from transferkit import create_backbone
from transferkit.backbones import FeatureBackbone, is_batch_norm, layers_of, resolve_backbone

# Of each network: its input, and numbers of maps with the layers that they are.
FAMILIES = {
    "resnet18": ((64, 96), {2: "stage2", -1: "stage4"}),
    "swin_tiny_patch4_window7_224": ((64, 96), {1: "stage1", 3: "stage3"}),
    "vit_tiny_patch16_224": ((64, 96), {5: "block5", -1: "block11"}),
    "vgg11": ((64, 64), {2: "stage2", 5: "stage5"}),
    "convnext_atto": ((64, 96), {0: "stage0", -2: "stage2"}),
    "efficientnet_b0": ((64, 96), {2: "stage2", 4: "stage4"}),
    "densenet121": ((64, 64), {1: "stage1", 4: "stage4"}),
    "inception_v3": ((96, 96), {2: "stage2", 4: "stage4"}),
    "torchvision:alexnet": ((96, 96), {0: "stage0", 3: "final"}),
    "torchvision:googlenet": ((64, 64), {2: "stage2", -1: "final"}),
    "bundled": ((64, 64), {2: "stage2", 4: "stage4"}),
}


def pixels(size=(64, 96), n=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, 3, *size), dtype=torch.uint8, generator=generator)


def create(name="test_resnet", **options):
    return create_backbone(name, pretrained=False, features_only=True, **options)


@pytest.mark.suites
@pytest.mark.parametrize("name", FAMILIES)
def test_maps_are_those_of_the_frozen_backbone(name):
    size, named = FAMILIES[name]
    module = create(name, image_size=size, output_indices=list(named))
    frozen = create_backbone(name, pretrained=False, image_size=size)
    layers = tuple(layer for layer in frozen.layers if layer in named.values())
    assert module.layers == layers
    assert torch.equal(module.normalize(pixels(size)), frozen.normalize(pixels(size)))
    found = module(module.normalize(pixels(size)))
    expected = frozen(frozen.normalize(pixels(size)), layers).maps
    assert list(found) == list(layers)
    for layer, width, stride in zip(layers, module.out_channels, module.strides, strict=True):
        torch.testing.assert_close(found[layer], expected[layer], rtol=1e-4, atol=1e-5)
        assert found[layer].shape[1] == width
        assert not found[layer].requires_grad
        if "inception" not in name and "alexnet" not in name:
            assert found[layer].shape[2:] == tuple(-(-side // stride) for side in size)


@pytest.mark.suites
@pytest.mark.parametrize("name", FAMILIES)
def test_gradient_reaches_just_what_requires_one(name):
    size, named = FAMILIES[name]
    module = create(name, image_size=size, output_indices=list(named), trainable=True)
    maps = module.train()(module.normalize(pixels(size, n=1)))
    sum(x.sum() for x in maps.values()).backward()
    graded = {n for n, p in module.named_parameters() if p.grad is not None}
    assert graded == {n for n, p in module.named_parameters() if p.requires_grad}
    assert len(graded) >= 10


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_strides_are_those_of_a_dilated_network(stride):
    module = create("resnet18", output_stride=stride, output_indices=(2, 3, 4))
    maps = module(torch.zeros(1, 3, 128, 192))
    assert [128 / x.shape[2] for x in maps.values()] == list(module.strides)
    assert module.strides == (8, min(16, stride), stride)


def test_numbers_are_those_of_timm():
    module = create("test_resnet", output_indices=(-3, 4))
    own = timm.create_model("test_resnet", features_only=True, out_indices=(-3, 4))
    assert module.out_channels == tuple(own.feature_info.channels())
    assert module.strides == tuple(own.feature_info.reduction())


def test_without_numbers_there_are_all_stages_or_the_last_block():
    assert create("test_resnet").layers == tuple(f"stage{i}" for i in range(5))
    (last,) = create("test_vit").layers
    spec = resolve_backbone("test_vit", pretrained=False)
    assert last == [layer for layer in layers_of(spec) if layer.startswith("block")][-1]


def test_layers_may_be_named():
    module = create("test_vit", layers=["final"])
    assert module.layers == ("final",)
    frozen = create_backbone("test_vit", pretrained=False)
    images = torch.zeros(1, 3, *frozen.preprocess.image_size)
    expected = frozen(images, ["final"]).maps["final"]
    torch.testing.assert_close(module(images)["final"], expected)


def running(module):
    return {n: b.clone() for n, b in module.named_buffers() if "running" in n}


@pytest.mark.parametrize(
    ("options", "moves", "is_training"),
    [
        ({}, False, False),
        ({"trainable": True}, False, True),
        ({"trainable": True, "freeze_statistics": False}, True, True),
        ({"freeze_statistics": False}, False, False),
    ],
)
def test_frozen_means_eval_mode(options, moves, is_training):
    module = create(**options)
    whole = nn.Sequential(module)  # train() comes from outside, as an own network's does
    whole.train()
    before = running(module)
    module(module.normalize(pixels()))
    after = running(module)
    assert before.keys() == after.keys() != set()
    assert any(not torch.equal(before[n], after[n]) for n in before) == moves
    assert module.training == is_training
    norms = [m for m in module.modules() if is_batch_norm(m)]
    assert norms
    assert all(m.training == moves for m in norms)


def test_a_gradient_may_be_asked_for_later():
    module = create()
    assert module.is_frozen
    module.requires_grad_(True)
    assert module.train().training
    module.requires_grad_(False)
    assert not module.train().training


def test_a_copy_has_weights_of_its_own():
    module = create(trainable=True)
    images = module.normalize(pixels())
    expected = module(images)["stage4"].detach().clone()
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert isinstance(other, FeatureBackbone)
        assert torch.equal(other(images)["stage4"], expected)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
    assert torch.equal(module(images)["stage4"], expected)
    fresh = create(seed=1)
    assert not torch.equal(fresh(images)["stage4"], expected)
    fresh.load_state_dict(module.state_dict())
    assert torch.equal(fresh(images)["stage4"], expected)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"output_indices": (2, 9)}, "has the maps 0 to 4 .stage0 … stage4.; give one or more"),
        ({"output_indices": (-1, 4)}, "each once"),
        ({"output_indices": ()}, "give one or more"),
        ({"output_indices": (1,), "layers": ["stage1"]}, "give one of them"),
        ({"layers": ["stage7"]}, "stage7"),
    ],
)
def test_wrong_maps_are_named(options, match):
    with pytest.raises(ValueError, match=match):
        create(**options)


def test_a_frozen_backbone_takes_no_options_of_the_other():
    for options in ({"output_indices": (2,)}, {"trainable": True}):
        with pytest.raises(ValueError, match="features_only=True"):
            create_backbone("test_resnet", pretrained=False, **options)


def test_pixels_are_normalised_once():
    module = create()
    with pytest.raises(ValueError, match="give uint8"):
        module.normalize(torch.zeros(1, 3, 32, 32))
