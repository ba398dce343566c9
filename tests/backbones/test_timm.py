"""timm's names, creation arguments and quirks; the families' common promises are in test_common."""

import copy
import pickle
import socket
import threading

import numpy as np
import pytest
import timm
import torch

from transferkit.backbones import (
    build_backbone,
    create_backbone,
    layers_of,
    resolve_backbone,
    search_backbones,
)
from transferkit.backbones._timm_networks import StageNetwork, layer_infos
from transferkit.forward import Forward
from transferkit.pooling import parse_feature


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def noise(*size):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


def vit(name="vit_tiny_patch16_224", size=(64, 96), **options):
    return create_backbone(name, False, image_size=size, depth=3, **options)


def key(*args, feature="pre_logits", **options):
    return resolve_backbone(*args, **options).feature_spec(feature).key


# ---- tokens -------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "n_prefix", "has_class"),
    [
        ("vit_tiny_patch16_224", 1, True),
        ("vit_small_patch14_reg4_dinov2", 5, True),
        ("deit_tiny_distilled_patch16_224", 2, True),
        ("vit_wee_patch16_reg1_gap_256", 1, False),
        ("eva02_tiny_patch14_224", 1, True),
    ],
)
def test_tokens(name, n_prefix, has_class):
    size = (56, 84) if "14" in name else (64, 96)
    backbone = vit(name, size)
    images = noise(*size)
    network = backbone.network.network
    maps = backbone(images, ["block1", "block2", "block2_norm", "final"])
    plain = network.forward_intermediates(
        images, indices=[1, 2], return_prefix_tokens=True, intermediates_only=True
    )
    normed = network.forward_intermediates(
        images, indices=[2], return_prefix_tokens=True, norm=True, intermediates_only=True
    )
    tokens = network.forward_features(images)
    assert tokens.shape[1] == 4 * 6 + n_prefix
    for layer, (patches, prefix) in zip(
        ["block1", "block2", "block2_norm"], [*plain, *normed], strict=True
    ):
        assert maps.maps[layer].shape == (2, tokens.shape[2], 4, 6)
        torch.testing.assert_close(maps.maps[layer], patches)
        torch.testing.assert_close(maps.prefix[layer], prefix)
    # What the last block gives is, after the norm, what the network itself returns.
    torch.testing.assert_close(maps.prefix["block2_norm"], tokens[:, :n_prefix])
    torch.testing.assert_close(maps.prefix["final"], tokens[:, :n_prefix])
    torch.testing.assert_close(maps.maps["final"].flatten(2).mT, tokens[:, n_prefix:])
    torch.testing.assert_close(maps.maps["block2_norm"], maps.maps["final"])
    assert backbone.layers["final"].has_class_token == has_class
    assert backbone.layers["block1"].has_class_token == has_class


def test_class_token_is_the_first_token_not_a_register():
    backbone = vit("vit_small_patch14_reg4_dinov2", (56, 56))
    names = ["final.cls", "block2.cls", "block2.cls_norm", "final.cls_avg", "pre_logits"]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 56, 56, 3), dtype=np.uint8)
    rows = Forward(backbone, [parse_feature(n) for n in names], device="cpu").rows(pixels)
    images = backbone.normalize(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    network = backbone.network.network
    with torch.no_grad():
        tokens = network.forward_features(images).numpy()
        last = network.get_intermediate_layers(images, n=[2], return_prefix_tokens=True)[0][1]
    np.testing.assert_allclose(rows["final.cls"], tokens[:, 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(rows["block2.cls_norm"], tokens[:, 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(rows["block2.cls"], last[:, 0].numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(rows["pre_logits"], tokens[:, 0], rtol=1e-4, atol=1e-6)
    both = np.concatenate((tokens[:, 0], tokens[:, 5:].mean(1)), axis=1)
    np.testing.assert_allclose(rows["final.cls_avg"], both, rtol=1e-4, atol=1e-6)
    assert not np.allclose(tokens[:, 0], tokens[:, 1])


@torch.no_grad()
def test_a_class_token_that_only_the_end_has():
    backbone = create_backbone("xcit_nano_12_p16_224", False, image_size=64, depth=2)
    images = noise(64, 64)
    tokens = backbone.network.network.forward_features(images)
    maps = backbone(images, ["final", "block1"])
    torch.testing.assert_close(maps.prefix["final"][:, 0], tokens[:, 0])
    assert "block1" not in maps.prefix
    backbone.check_layer("final", class_token=True)
    with pytest.raises(ValueError, match="layer 'block1' of 'xcit_nano_12_p16_224' has no class"):
        backbone.check_layer("block1", class_token=True)


@torch.no_grad()
def test_a_transformer_without_prefix_tokens_takes_the_smaller_network():
    options = {"image_size": 64, "depth": 4}
    full = create_backbone("vit_medium_patch16_gap_240", False, **options)
    stages = build_backbone(full.spec, layers=["block0", "block2"])
    assert isinstance(stages.network, StageNetwork)
    images = noise(64, 64)
    expected = full(images, ["block0", "block2"]).maps
    given = stages(images, ["block0", "block2"]).maps
    assert list(given) == ["block0", "block2"]
    for layer, values in expected.items():
        torch.testing.assert_close(given[layer], values)


@pytest.mark.parametrize("name", ["resnet10t", "vit_wee_patch16_reg1_gap_256"])
def test_no_class_token(name):
    backbone = create_backbone(name, False, image_size=64)
    with pytest.raises(ValueError, match=rf"'final' of '{name}' has no class token; pool it with"):
        Forward(backbone, [parse_feature("final.cls")], device="cpu")


@pytest.mark.parametrize(
    ("name", "layer"), [("resnet10t", "stage1"), ("swin_tiny_patch4_window7_224", "stage1")]
)
def test_no_norm_for_inner_layers(name, layer):
    backbone = create_backbone(name, False, image_size=64)
    with pytest.raises(ValueError, match="no final norm for inner layers; leave '_norm' out"):
        backbone(noise(64, 64), [f"{layer}_norm"])


# ---- creation arguments -------------------------------------------------------------


@torch.no_grad()
def test_output_stride():
    backbone = create_backbone("resnet10t", False, image_size=64, output_stride=8)
    maps = backbone(noise(64, 64), ["stage2", "stage4", "final"])
    assert [m.shape[2:] for m in maps.maps.values()] == [(8, 8)] * 3
    assert list(maps.strides.values()) == [8, 8, 8]
    stages = build_backbone(backbone.spec, layers=["stage4"])
    torch.testing.assert_close(stages(noise(64, 64), ["stage4"]).maps["stage4"], maps.maps["final"])


@torch.no_grad()
def test_patch_size():
    backbone = vit(patch_size=32)
    assert backbone.strides["final"] == 32
    assert backbone(noise(64, 96), ["final"]).maps["final"].shape == (2, 192, 2, 3)


@torch.no_grad()
def test_pad_type():
    images = noise(64, 64)
    plain = create_backbone("mobilenetv3_small_100", False)
    same = create_backbone("mobilenetv3_small_100", False, pad_type="same")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = timm.create_model("mobilenetv3_small_100", pad_type="same").eval()
    logits = same(images, ["logits"]).logits
    torch.testing.assert_close(logits, theirs(images))
    assert not torch.allclose(logits, plain(images, ["logits"]).logits)
    keys = {b.spec.feature_spec("logits").key for b in (plain, same)}
    assert len(keys) == 2


@torch.no_grad()
def test_drop_rates_drop_nothing():
    backbone = vit(drop_rate=0.9, drop_path_rate=0.9, proj_drop_rate=0.9).train()
    plain = vit()
    images = noise(64, 96)
    for layer in ("pre_logits", "logits"):
        given, expected = (getattr(b(images, [layer]), layer) for b in (backbone, plain))
        torch.testing.assert_close(given, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "resnet18",
            {"patch_size": 8},
            "'resnet18' doesn't take the creation argument 'patch_size'",
        ),
        (
            "resnet18",
            {"img_size": 64},
            "argument 'img_size'; leave it out, .* image_size, crop_pct",
        ),
        ("vit_tiny_patch16_224", {"output_stride": 8}, "doesn't take .* argument 'output_stride'"),
        ("efficientnet_b0", {"window_size": 7}, "doesn't take the creation argument 'window_size'"),
        (
            "resnet18",
            {"output_stride": 7},
            "can't be dilated to output_stride 7 .* take 8, 16 or 32",
        ),
        ("vgg11", {"output_stride": 8}, "'vgg11' can't be dilated to output_stride 8"),
        ("mixer_s32_224", {"patch_size": 8}, "doesn't take the creation argument 'patch_size'"),
        ("nest_tiny", {"image_size": (64, 96)}, "take these .* only handles square inputs"),
        (
            "vit_tiny_r_s16_p8_224",
            {"image_size": (250, 333)},
            r"take these .* give an image_size of multiples of 32, such as \(256, 320\)",
        ),
        (
            "maxvit_rmlp_pico_rw_256",
            {"image_size": 24},
            r"could not be built: .* give an image_size of multiples of 32, such as \(32, 32\)",
        ),
        ("resnet18", {"checkpoint_path": "w"}, "argument 'checkpoint_path' can't be given"),
        ("resnet18", {"out_indices": (1,)}, "argument 'out_indices' can't be given"),
        (
            "resnet18",
            {"in_chans": 1},
            r"no mean was given, and the backbone takes 1 channel; give mean \(--mean\)",
        ),
        ("resnet18", {"in_chans": 0}, "in_chans is 0; give a whole number from 1"),
        ("resnet18", {"in_chans": 5, "mean": (0.5, 0.5)}, "mean is .0.5, 0.5., .* 5 channels"),
        ("resnet18", {"value_range": (5, 1)}, "value_range is .5.0, 1.0.; give two numbers"),
        ("resnet18", {"value_range": (0, 1), "window": True}, "both given; give one of them"),
        ("resnet18", {"bands": (1, 2)}, "are 2 channels, and the backbone takes 3; .*in_chans=2"),
        ("resnet18", {"bands": (0, 1, 2)}, "bands is .*; give whole numbers from 1"),
        ("resnet18", {"layout": "WHC"}, "layout is 'WHC'; choose one of HWC, CHW"),
        ("resnet18", {"value_range": (0, 1), "decode": "scaled"}, "'scaled' is for 8-bit RGB"),
        ("resnet18", {"act_layer": torch.nn.GELU}, "'act_layer' is .* which has no place in a key"),
        ("vit_tiny_patch16_224", {"image_size": 64, "img_size": 64}, "both given; give image_size"),
    ],
)
def test_bad_arguments(name, arguments, message):
    with pytest.raises(ValueError, match=message) as raised:
        create_backbone(name, False, **arguments)
    assert "\n" not in str(raised.value)
    # Its layers are asked for first where maps are wanted.
    with pytest.raises(ValueError, match=message):
        layers_of(resolve_backbone(name, False, **arguments))


def test_a_spec_has_no_place_for_features_only():
    with pytest.raises(ValueError, match=r"'features_only' can't be given: .* by feature name"):
        resolve_backbone("resnet18", False, features_only=True)


# ---- names --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet81", "unknown backbone 'resnet81'; did you mean 'resnet18'"),
        ("", "unknown backbone ''; none of the .* See `transferkit backbones PATTERN`"),
        ("resnet18.a1_in2k", "unknown weights of 'resnet18': 'a1_in2k'; did you mean 'a1_in1k'"),
        ("resnet18.x", "unknown weights of 'resnet18': 'x'; known: a1_in1k, a2_in1k, a3_in1k"),
        ("timm/resnet18.a1_in1k", "could not be resolved: .* Use 'hf-hub:timm/resnet18.a1_in1k'"),
        ("nfs:resnet18", "'nfs:resnet18' could not be resolved: Unknown model source 'nfs'"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        resolve_backbone(name, False)


def test_no_pretrained_weights():
    with pytest.raises(ValueError, match="no pretrained weights for 'regnetz_005'; choose a tag"):
        resolve_backbone("regnetz_005")


def test_no_intermediate_features():
    with pytest.raises(ValueError, match="offers no intermediate features in timm; choose another"):
        layer_infos(torch.nn.Identity())


@pytest.mark.parametrize("layers", [["stage9"], ["stage1", "blocks"]])
def test_unknown_layers(layers):
    message = f"unknown layer of 'resnet10t': '{layers[-1]}'"
    backbone = create_backbone("resnet10t", False)
    with pytest.raises(ValueError, match=message):
        backbone(noise(64, 64), layers)
    with pytest.raises(ValueError, match=f"{message}.*known: stage0, stage1"):
        build_backbone(backbone.spec, layers=layers)


def test_layers_that_it_was_not_built_for():
    backbone = create_backbone("resnet10t", False, layers=["stage1", "stage2"])
    with pytest.raises(ValueError, match="built for stage1, stage2 only; build it again with"):
        backbone(noise(64, 64), ["stage2", "logits"])
    assert list(backbone(noise(64, 64), ["stage2"]).maps) == ["stage2"]


# ---- input size and preprocessing ---------------------------------------------------


def test_image_size_resizes_a_vit():
    backbone = vit(size=(32, 48))
    assert backbone.preprocess.image_size == (32, 48)
    assert backbone.spec.arguments["img_size"] == [32, 48]
    assert backbone.network.network.pos_embed.shape == (1, 2 * 3 + 1, 192)
    by_timms_name = create_backbone("vit_tiny_patch16_224", False, img_size=(32, 48), depth=3)
    assert by_timms_name.preprocess == backbone.preprocess
    assert by_timms_name.spec.feature_spec("final.avg") == backbone.spec.feature_spec("final.avg")


def test_image_size_of_a_convolutional_net_is_preprocessing():
    plain, small = (resolve_backbone("resnet10t", False, image_size=s) for s in (None, 64))
    assert small.preprocess.image_size == (64, 64)
    assert plain.preprocess.image_size == timm.get_pretrained_cfg("resnet10t").input_size[-2:]
    assert small.arguments == plain.arguments
    assert "img_size" not in small.arguments


def test_preprocessing_is_timms():
    for name in ("resnet18.a1_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "inception_v3"):
        theirs = timm.data.resolve_data_config(
            pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()
        )
        ours = resolve_backbone(name, False).preprocess
        assert ours.image_size == theirs["input_size"][-2:]
        for field in ("mean", "std", "crop_pct", "crop_mode", "interpolation"):
            assert getattr(ours, field) == theirs[field], (name, field)


@torch.no_grad()
def test_normalize():
    backbone = create_backbone("inception_v3", False)
    pixels = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8)
    mean, std = np.array(backbone.preprocess.mean), np.array(backbone.preprocess.std)
    expected = (pixels.numpy() / 255 - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(backbone.normalize(pixels), expected, rtol=1e-5, atol=1e-6)


# ---- the key ------------------------------------------------------------------------

KEY_CHANGES = [
    {"seed": 1},
    {"image_size": 96},
    {"image_size": (64, 96)},
    {"crop_pct": 0.9},
    {"crop_mode": "squash"},
    {"interpolation": "lanczos"},
    {"exif": True},
    {"output_stride": 8},
    {"num_classes": 10},
    {"feature": "final.max"},
]


def test_what_changes_the_key():
    keys = [key("resnet18", pretrained=False)]
    keys += [key("resnet18", pretrained=False, **change) for change in KEY_CHANGES]
    keys.append(key("resnet34", pretrained=False))
    assert len(set(keys)) == len(KEY_CHANGES) + 2


def test_what_does_not_change_the_key():
    plain = key("resnet18", pretrained=False)
    size = timm.get_pretrained_cfg("resnet18").input_size[-1]
    assert key("resnet18.a1_in1k", pretrained=False) == plain
    assert key("resnet18", pretrained=False, image_size=size, seed=0, exif=False) == plain
    assert key("resnet18", pretrained=False, image_size=(size, size)) == plain


def test_a_backbone_knows_its_spec():
    backbone = create_backbone("resnet10t", False, seed=3)
    assert backbone.spec == resolve_backbone("resnet10t", False, seed=3)
    assert (backbone.name, backbone.weights_digest) == ("resnet10t", "random:3")
    assert repr(backbone) == "Backbone('resnet10t', weights='random:3')"


# ---- copies and threads -------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("layers", [None, ["stage1", "stage3"]])
def test_copies(layers):
    backbone = create_backbone("resnet10t", False, seed=5, image_size=64, layers=layers)
    assert copy.deepcopy(backbone) is backbone
    assert copy.deepcopy([backbone])[0] is backbone
    data = pickle.dumps(backbone)
    assert len(data) < 10_000  # how it was made, not its weights
    again = pickle.loads(data)
    assert again is not backbone
    assert again.spec.feature_spec("final.avg") == backbone.spec.feature_spec("final.avg")
    assert again.layers == backbone.layers
    images = noise(64, 64)
    for name, values in backbone(images, ["stage1", "stage3"]).maps.items():
        assert torch.equal(again(images, ["stage1", "stage3"]).maps[name], values)
    if layers:
        with pytest.raises(ValueError, match="was built for stage1, stage3 only"):
            again(images, ["final"])


@torch.no_grad()
def test_threads_share_one_network():
    backbone = create_backbone("resnet10t", False, image_size=64)
    images = noise(64, 64)
    expected = backbone(images, ["logits"]).logits
    inside, most, results = [], [], []

    def enter(*_):
        inside.append(1)
        most.append(len(inside))

    def leave(*_):
        inside.pop()

    backbone.network.register_forward_pre_hook(enter)
    backbone.network.register_forward_hook(leave)

    def compute():
        with torch.no_grad():
            results.append(backbone(images, ["logits"]).logits)

    threads = [threading.Thread(target=compute) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4
    assert all(torch.equal(result, expected) for result in results)


# ---- what there is ------------------------------------------------------------------


@pytest.mark.usefixtures("no_network")
def test_search_by_pattern():
    names = [info.name for info in search_backbones("resnet[15]?", details=0)]
    assert {"resnet18", "resnet50"} <= set(names)
    assert all(len(name) == 8 and name.startswith("resnet") for name in names)
    part = [info.name for info in search_backbones("convnext_a", details=0)]
    assert part == sorted(n for n in timm.list_models() if "convnext_a" in n)
    assert search_backbones("no_such_network") == []
    assert len(search_backbones(details=0)) == len(timm.list_models()) + 3  # and ours


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("pattern", ["resnet18", "resnet18.a1_in1k"])
def test_search_by_exact_name(pattern):
    (info,) = search_backbones(pattern)
    assert info.name == "resnet18"
    assert "a1_in1k" in info.tags
    assert info.image_size == tuple(timm.get_pretrained_cfg("resnet18").input_size[-2:])
    network = timm.create_model("resnet18")
    assert info.n_parameters == sum(p.numel() for p in network.parameters()) == 11_689_512
    assert info.gmacs == pytest.approx(1.82, abs=0.02)  # torchvision's table: 1.81
    assert info.layers == create_backbone("resnet18", False).layers


def test_search_by_tag():
    assert search_backbones("resnet18.no_such_tag") == []
    names = {info.name for info in search_backbones("*.lvd142m", details=0)}
    assert "vit_small_patch14_dinov2" in names
    assert all("dinov2" in name for name in names)


@pytest.mark.usefixtures("no_network")
def test_details_are_for_few():
    matches = search_backbones("resnet10t*", details=1)
    network = timm.create_model("resnet10t")
    assert [m.n_parameters for m in matches] == [sum(p.numel() for p in network.parameters())]
    for info in search_backbones("mobilenetv3_small_0*", details=1):
        assert (info.n_parameters, info.gmacs, info.layers) == (None, None, {})
        assert info.name
        assert len(info.image_size) == 2
