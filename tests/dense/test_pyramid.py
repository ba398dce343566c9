import pytest
import torch

from transferkit.backbones import create_backbone, layers_of, resolve_backbone
from transferkit.dense.pyramid import (
    MIN_SIDE,
    check_image_size,
    pyramid_layers,
    pyramid_neck,
)
from transferkit.maps import LayerInfo
from transferkit.necks import neck_names

FOUR = (4, 8, 16, 32)
# Families, and the strides of their pyramids.
PLAIN = {
    "vit_tiny_patch16_224": 16,
    "beit_base_patch16_224": 16,
    "vit_small_patch14_dinov2": 14,
    "vit_tiny_r_s16_p8_224": 32,
    "xcit_nano_12_p8_224": 8,
    "mixer_s32_224": 32,
}
STAGES = {
    **dict.fromkeys(
        (
            "resnet18",
            "mobilenetv3_small_050",
            "efficientnet_b0",
            "convnext_atto",
            "swin_tiny_patch4_window7_224",
            "vgg11",
            "densenet121",
            "inception_v3",
            "hrnet_w18_small",
            "maxvit_rmlp_pico_rw_256",
            "hiera_tiny_224",
            "torchvision:alexnet",
            "torchvision:googlenet",
            "bundled",
        ),
        FOUR,
    ),
    "visformer_tiny": (8, 16, 32),
    "levit_128s": (16, 32),
    "nest_tiny": (4, 8, 16),
    "sequencer2d_s": (7, 14),
}


def layers(name, **arguments):
    return layers_of(resolve_backbone(name, pretrained=False, **arguments))


def strides(infos, names):
    return tuple(infos[name].stride for name in names)


@pytest.mark.parametrize("name", [*PLAIN, *STAGES])
def test_strides_of_families(name):
    infos = layers(name)
    chosen = pyramid_layers(infos)
    assert strides(infos, chosen) == (STAGES.get(name) or (PLAIN[name],))
    assert (chosen == ("final",)) == (name in PLAIN)
    # Each is the last of its stride, with nothing but `final` behind it.
    order = list(infos)
    for layer in chosen:
        behind = [
            n for n in order[order.index(layer) + 1 :] if infos[n].stride == infos[layer].stride
        ]
        assert behind in ([], ["final"])


@pytest.mark.parametrize(
    ("name", "size", "arguments"),
    [
        ("resnet18", (64, 96), {}),
        ("resnet18", (45, 70), {}),
        ("convnext_atto", (64, 96), {}),
        ("vgg11", (32, 64), {}),
        ("densenet121", (64, 32), {}),
        ("swin_tiny_patch4_window7_224", (64, 96), {}),
        ("maxvit_rmlp_pico_rw_256", (64, 96), {}),
        ("vit_tiny_patch16_224", (64, 96), {}),
        ("vit_tiny_r_s16_p8_224", (64, 96), {}),
        ("inception_v3", (96, 128), {}),
        ("torchvision:alexnet", (96, 64), {}),
        ("vit_tiny_patch16_224", (64, 96), {"patch_size": 8}),
        ("swin_tiny_patch4_window7_224", (64, 96), {"patch_size": 2}),
        ("resnet18", (64, 96), {"output_stride": 8}),
        ("convnext_atto", (64, 96), {"output_stride": 16}),
        ("efficientnet_b0", (64, 96), {"output_stride": 8}),
    ],
)
def test_maps_are_of_the_strides_that_are_named(name, size, arguments):
    """By the sizes that come out of the network, rectangular as they went in."""
    backbone = create_backbone(name, pretrained=False, image_size=size, **arguments)
    chosen = pyramid_layers(backbone.layers)
    assert backbone.layers == layers(name, image_size=size, **arguments)
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, *size), chosen)
    assert list(maps.maps) == list(chosen)
    for layer, level in maps.maps.items():
        assert level.shape[1] == backbone.channels[layer]
        for side, px in zip(level.shape[-2:], size, strict=True):
            # Inception's and AlexNet's convolutions lose pixels at the edge.
            lost = {"inception_v3": 4, "torchvision:alexnet": 2}.get(name, 0.99)
            assert abs(side - px / maps.strides[layer]) <= lost, (layer, tuple(level.shape))


@pytest.mark.parametrize("output_stride", [8, 16])
def test_a_dilated_network_has_fewer_levels(output_stride):
    infos = layers("resnet18", output_stride=output_stride)
    chosen = pyramid_layers(infos)
    assert strides(infos, chosen) == tuple(s for s in FOUR if s <= output_stride)
    assert chosen[-1] == "stage4"


def test_strides_may_be_chosen():
    infos = layers("vgg11")
    assert pyramid_layers(infos, (8, 16, 32)) == ("stage3", "stage4", "stage5")
    assert pyramid_layers(infos, (16, 8)) == ("stage3", "stage4")
    assert pyramid_layers(layers("vit_tiny_patch16_224"), (8,)) == ("final",)


@pytest.mark.parametrize("neck", neck_names())
@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_every_neck_has_a_pyramid(name, neck):
    backbone = create_backbone(name, pretrained=False, image_size=(64, 96))
    chosen = pyramid_layers(backbone.layers)
    arguments = [backbone.channels[n] for n in chosen], [backbone.strides[n] for n in chosen]
    if neck == "simple" and name == "test_resnet":
        with pytest.raises(ValueError, match="makes a pyramid of one map and was given 4"):
            pyramid_neck(neck, *arguments)
        return
    made = pyramid_neck(neck, *arguments)
    with torch.no_grad():
        out = made(backbone(torch.randn(1, 3, 64, 96), chosen))
    if neck == "none":
        assert list(out.maps) == list(chosen)
    else:
        assert made.strides == FOUR
        assert [tuple(m.shape[-2:]) for m in out.maps.values()] == [
            (16, 24), (8, 12), (4, 6), (2, 3),
        ]  # fmt: skip


def test_options_reach_the_simple_pyramid_and_the_neck():
    neck = pyramid_neck("bifpn", [192], [16], width=12, levels=(8, 16), repeats=3)
    assert (neck.out_channels, neck.strides) == ((12, 12), (8, 16))
    assert [type(n).__name__ for n in neck.necks] == ["SimplePyramidNeck", "BiFPNNeck"]
    assert len(neck.necks[1].layers) == 3
    with pytest.raises(ValueError, match="option of the neck 'fpn': 'levels'; known: width"):
        pyramid_neck("fpn", [8, 8], [8, 16], levels=(8, 16))


@pytest.mark.parametrize(
    ("strides", "infos", "message"),
    [
        ((4, 8), {"a": 1, "b": 2}, r"the strides \[4, 8\]; this backbone's are \[1, 2\]"),
        ((4,), {"a": 16, "b": 32}, r"one of the strides \[4\]; this backbone's are \[16, 32\]"),
        ((4,), {"pre_logits": 0}, "this backbone gives no maps"),
        ((), {"a": 4}, r"strides is \[\]; give px above 0, such as \(8, 16, 32\)"),
        ((0,), {"a": 4}, "give px above 0"),
    ],
)
def test_no_pyramid(strides, infos, message):
    with pytest.raises(ValueError, match=message):
        pyramid_layers({name: LayerInfo(8, stride) for name, stride in infos.items()}, strides)


def test_the_smallest_images():
    check_image_size((MIN_SIDE, MIN_SIDE))
    for size in ((31, 400), (400, 31)):
        with pytest.raises(ValueError, match=r"give 32 × 32 px or more"):
            check_image_size(size)
