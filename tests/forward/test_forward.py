import weakref

import numpy as np
import pytest
import torch

from transferkit import forward as module
from transferkit.backbones import create_backbone, resolve_backbone
from transferkit.forward import Forward, choose_device
from transferkit.pooling import parse_feature

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
FEATURES = [parse_feature(n) for n in ("pre_logits", "final.gem", "stage1.map", "stage4.flatten")]


@pytest.fixture(scope="module")
def backbone():
    return create_backbone("resnet10t", False, image_size=64)


def relative_error(given, expected):
    return np.linalg.norm(given - expected) / np.linalg.norm(expected)


def test_rows_equal_those_computed_by_hand(backbone):
    rows = Forward(backbone, FEATURES, device="cpu").rows(PIXELS)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images = ((PIXELS / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    network = backbone.network.network
    with torch.no_grad():
        final = network.forward_features(torch.from_numpy(images))
        pre_logits = network.forward_head(final, pre_logits=True).numpy()
    assert list(rows) == ["pre_logits", "final.gem", "stage1.map", "stage4.flatten"]
    assert rows["stage1.map"].shape == (4, 64, 16, 16)
    assert rows["stage4.flatten"].shape == (4, 512 * 2 * 2)
    assert relative_error(rows["pre_logits"], pre_logits) < 1e-5
    assert relative_error(rows["stage4.flatten"], final.flatten(1).numpy()) < 1e-5
    gem = np.cbrt((np.maximum(final.double().numpy(), 1e-6) ** 3).mean((2, 3)))
    assert relative_error(rows["final.gem"], gem) < 1e-5


def test_pixels_are_left_alone(backbone):
    pixels = PIXELS.copy()
    Forward(backbone, FEATURES, device="cpu").rows(pixels)
    np.testing.assert_array_equal(pixels, PIXELS)


def test_views_of_an_array(backbone):
    computed = Forward(backbone, FEATURES[:1], device="cpu")
    expected = computed.rows(PIXELS[::2].copy())["pre_logits"]
    np.testing.assert_array_equal(computed.rows(PIXELS[::2])["pre_logits"], expected)


def test_a_spec_is_built_once(monkeypatch):
    module.clear()
    built = []

    def build(spec, *, layers):
        built.append(layers)
        return original(spec, layers=layers)

    original = module.engines.build_backbone
    monkeypatch.setattr(module.engines, "build_backbone", build)
    spec = resolve_backbone("resnet10t", False, image_size=64)
    first = Forward(spec, FEATURES[:1], device="cpu")
    second = Forward(spec, FEATURES[:1], device="cpu")
    assert first.backbone is second.backbone
    assert built == [("pre_logits",)]
    Forward(spec, FEATURES[2:], device="cpu")
    assert built == [("pre_logits",), ("stage1", "stage4")]
    module.clear()


def test_what_is_kept_is_released(monkeypatch):
    monkeypatch.setattr("transferkit.forward.compiled_engine.BACKEND", "eager")
    spec = resolve_backbone("test_resnet", False, image_size=64)
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    alive = []
    for engine in ("torch", "compile"):
        forward = Forward(spec, FEATURES[:1], device="cpu", engine=engine)
        forward.rows(pixels)
        alive += [weakref.ref(forward.backbone), weakref.ref(forward._engine)]
    del forward
    assert all(kept() is not None for kept in alive)
    module.clear()
    assert [kept() for kept in alive] == [None] * 4


def test_a_spec_gives_the_backbones_numbers(backbone):
    spec = resolve_backbone("resnet10t", False, image_size=64)
    expected = Forward(backbone, FEATURES, device="cpu").rows(PIXELS)
    for features in (FEATURES, FEATURES[2:]):  # the latter from a features_only network
        for name, rows in Forward(spec, features, device="cpu").rows(PIXELS).items():
            np.testing.assert_array_equal(rows, expected[name])


def test_bf16_is_near_float32(backbone):
    exact = Forward(backbone, FEATURES[:1], device="cpu").rows(PIXELS)["pre_logits"]
    rows = Forward(backbone, FEATURES[:1], device="cpu", precision="bf16").rows(PIXELS)[
        "pre_logits"
    ]
    assert rows.dtype == np.float32
    cosines = (rows * exact).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosines.min() > 0.98
    assert relative_error(rows, exact) > 1e-5  # it was computed in another class
    again = Forward(backbone, FEATURES[:1], device="cpu").rows(PIXELS)["pre_logits"]
    np.testing.assert_array_equal(again, exact)


def test_fp16_needs_a_gpu(backbone):
    with pytest.raises(ValueError, match="'fp16' needs a GPU; on the CPU choose 'float32' or"):
        Forward(backbone, FEATURES, device="cpu", precision="fp16")


def test_features_that_do_not_exist(backbone):
    with pytest.raises(ValueError, match="unknown layer of 'resnet10t': 'stage7'; did you mean"):
        Forward(backbone, [parse_feature("stage7.avg")], device="cpu")
    with pytest.raises(ValueError, match="'final' of 'resnet10t' has no class token; pool it with"):
        Forward(backbone, [parse_feature("final.cls_avg")], device="cpu")


def test_provenance(backbone):
    provenance = Forward(backbone, FEATURES, device="cpu").provenance()
    assert provenance["backbone"] == "resnet10t"
    assert provenance["device"].startswith("cpu (")
    assert provenance["threads"] == str(torch.get_num_threads())
    assert provenance["torch"] == torch.__version__


def test_devices(monkeypatch):
    assert choose_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device() == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device() == torch.device("cuda")


@pytest.mark.parametrize("device", ["gpu", "", "cpuu", "meta", "cuda:x", "cpu:"])
def test_unknown_devices(device):
    with pytest.raises(ValueError, match=f"device is '{device}'; choose one of auto, cpu, cuda"):
        choose_device(device)


@pytest.mark.parametrize("device", ["cuda:99"])
def test_devices_that_are_not_there(device):
    with pytest.raises(ValueError, match=f"device '{device}' can't be used on this machine"):
        choose_device(device)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vgg11", (16, 64)),  # a map would have no pixel left
        ("hrnet_w18_small", (32, 44)),  # maps of two branches don't meet
        ("vit_small_patch16_dinov3", (40, 32)),  # an assertion of the network's own
    ],
)
def test_a_size_that_the_network_cannot_take(name, size):
    backbone = create_backbone(name, False, image_size=size)
    pixels = np.zeros((1, *size, 3), np.uint8)
    expected = f"{name!r} failed on 1 images of {size[0]} × {size[1]} px .* multiples of 32 px"
    with pytest.raises(ValueError, match=expected) as raised:
        Forward(backbone, [parse_feature("final.avg")], device="cpu").rows(pixels)
    assert "\n" not in str(raised.value)
