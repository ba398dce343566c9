"""One suite for every family of networks: what is promised of a backbone, whichever it is.

Expected values come from timm itself, used directly.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from transferkit import registry
from transferkit.backbones import Backbone, build_backbone, create_backbone
from transferkit.backbones._timm_networks import FullNetwork, StageNetwork
from transferkit.forward import Forward
from transferkit.pooling import parse_feature

pytestmark = pytest.mark.suites


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network, its input's height and width in px, and what timm is known to return."""

    name: str
    width: int  # of the final map
    size: tuple[int, int] = (64, 64)
    layout: str = "NCHW"  # of timm's own maps
    n_pre_logits: int | None = None  # where it isn't the final map's width
    is_padded: bool = True  # whether a map has ⌈input / stride⌉ px

    @property
    def img_size(self) -> dict[str, tuple[int, int]]:
        """timm's creation argument, for a network that takes its input's size."""
        fixed = timm.models.get_pretrained_cfg(self.name).fixed_input_size
        return {"img_size": self.size} if fixed else {}


SUBJECTS = [
    Subject("resnet18", 512, (64, 96)),
    Subject("resnet34", 512),
    Subject("resnet50", 2048),
    Subject("resnet101", 2048),
    Subject("efficientnet_b0", 1280, (64, 96)),
    Subject("efficientnet_b1", 1280),
    Subject("efficientnet_b2", 1408),
    Subject("efficientnet_b3", 1536),
    Subject("efficientnet_b4", 1792),
    Subject("mobilenetv2_100", 1280),
    Subject("mobilenetv3_small_100", 576, (64, 80), n_pre_logits=1024),
    Subject("mobilenetv3_large_100", 960, n_pre_logits=1280),
    Subject("regnetx_004", 384),
    Subject("regnety_004", 440),
    Subject("vgg11", 512, n_pre_logits=4096),
    Subject("inception_v3", 2048, (96, 96), is_padded=False),
    Subject("densenet121", 1024),
    Subject("convnext_atto", 320, (64, 96)),
    Subject("vit_tiny_patch16_224", 192, (64, 96), "tokens"),
    Subject("vit_tiny_r_s16_p8_224", 192, (64, 96), "tokens"),  # a ResNet below a ViT
    Subject("swin_tiny_patch4_window7_224", 768, (64, 96), "NHWC"),
    Subject("coatnet_nano_rw_224", 512),
    Subject("maxvit_nano_rw_256", 512),
]

# torch computes SiLU and the sigmoid in steps of 32 values and what is left over, at a
# tensor's end or a thread's, by another formula; so the last bit of a row may change with
# its place in the batch, unless the batch is a multiple of 32 images and of the threads.
HAVE_SIGMOIDS = {
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "regnety_004",
    "coatnet_nano_rw_224",
    "maxvit_nano_rw_256",
}


@pytest.fixture(scope="module", params=SUBJECTS, ids=lambda s: s.name)
def subject(request):
    return request.param


@pytest.fixture(scope="module")
def backbone(subject):
    return create(subject)


@pytest.fixture(scope="module")
def stages(subject, backbone):
    return create(subject, layers=stage_names(backbone))


@pytest.fixture(scope="module")
def theirs(subject):
    return from_timm(subject)


@pytest.fixture(scope="module")
def images(subject):
    return torch.randn(2, 3, *subject.size, generator=torch.Generator().manual_seed(0))


def create(subject, **options):
    return create_backbone(subject.name, False, image_size=subject.size, **options)


def from_timm(subject, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(subject.name, **subject.img_size).eval()


def stage_names(backbone: Backbone):
    return [name for name in backbone.layers if name.startswith(("stage", "block"))]


def to_nchw(subject, values, n_prefix=0):
    if subject.layout == "NHWC":
        return values.permute(0, 3, 1, 2)
    if subject.layout == "tokens" and values.ndim == 3:
        patches = values[:, n_prefix:]
        stride = round(math.sqrt(subject.size[0] * subject.size[1] / patches.shape[1]))
        grid = (subject.size[0] // stride, subject.size[1] // stride)
        return patches.unflatten(1, grid).permute(0, 3, 1, 2)
    return values


def assert_near(given, expected, tolerance=1e-6):
    assert given.shape == expected.shape
    error = np.linalg.norm(np.asarray(given) - np.asarray(expected))
    assert error <= tolerance * np.linalg.norm(np.asarray(expected)), error


def test_subjects():
    names = [subject.name for subject in SUBJECTS]
    assert len(set(names)) == len(names)
    assert set(names) >= HAVE_SIGMOIDS
    families = {
        *("resnet", "efficientnet", "mobilenetv2", "mobilenetv3", "regnet", "vgg", "inception"),
        *("densenet", "convnext", "vit_tiny_patch", "vit_tiny_r", "swin", "coatnet", "maxvit"),
    }
    assert {f for f in families if any(name.startswith(f) for name in names)} == families


def test_every_source_has_subjects():
    tested = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert set(registry.names("transferkit.backbones")) <= tested


# ---- equal to timm ------------------------------------------------------------------


@torch.no_grad()
def test_stages_equal_timms_features_only(subject, backbone, stages, theirs, images, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(theirs.state_dict(), path)
    names = stage_names(backbone)
    network = timm.create_model(
        subject.name,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(path)},
        features_only=True,
        out_indices=tuple(range(len(names))),
        **subject.img_size,
    ).eval()
    path.unlink()
    expected = [to_nchw(subject, values) for values in network(images)]
    full, alone = backbone(images, names), stages(images, names)
    assert list(full.maps) == list(alone.maps) == names
    assert len(expected) == len(names) >= 4
    for name, values in zip(names, expected, strict=True):
        torch.testing.assert_close(alone.maps[name], values, rtol=0, atol=0)
        torch.testing.assert_close(full.maps[name], values, rtol=0, atol=0)
    assert len({float(values.std()) for values in expected}) == len(names)


def test_only_stages_take_the_smaller_network(subject, backbone, stages):
    # Prefix tokens are lost in timm's features_only networks.
    kind = FullNetwork if subject.layout == "tokens" else StageNetwork
    assert isinstance(stages.network, kind)
    assert isinstance(backbone.network, FullNetwork)
    assert stages.layers == backbone.layers
    first = stage_names(backbone)[:2]
    fewer = build_backbone(backbone.spec, layers=first)
    assert isinstance(fewer.network, kind)
    n_parameters = [sum(p.numel() for p in b.parameters()) for b in (fewer, backbone)]
    assert n_parameters[0] < n_parameters[1] or kind is FullNetwork


@torch.no_grad()
def test_final_map_and_head_equal_timms(subject, backbone, theirs, images):
    final = theirs.forward_features(images)
    maps = backbone(images, ["final", "pre_logits", "logits"])
    n_prefix = 1 if subject.layout == "tokens" else 0
    torch.testing.assert_close(maps.maps["final"], to_nchw(subject, final, n_prefix))
    torch.testing.assert_close(maps.pre_logits, theirs.forward_head(final, pre_logits=True))
    torch.testing.assert_close(maps.logits, theirs(images))
    assert set(maps.maps) == {"final"}
    assert maps.pre_logits.shape == (2, subject.n_pre_logits or subject.width)


@torch.no_grad()
def test_one_pass_gives_what_single_passes_give(backbone, images):
    layers = list(backbone.layers)
    together = backbone(images, layers)
    for layer in (layers[0], layers[len(layers) // 2], "final", "pre_logits", "logits"):
        alone = backbone(images, [layer])
        if backbone.layers[layer].is_map:
            assert_near(together.maps[layer], alone.maps[layer])
            assert list(alone.maps) == [layer]
        else:
            assert_near(getattr(together, layer), getattr(alone, layer))
            assert not alone.maps


def test_number_of_passes(backbone, images):
    calls = []
    stem = next(m for m in backbone.modules() if isinstance(m, torch.nn.Conv2d))
    hook = stem.register_forward_hook(lambda *_: calls.append(1))
    backbone(images, backbone.layers)
    hook.remove()
    assert len(calls) == 1


# ---- what it says of itself ---------------------------------------------------------


@torch.no_grad()
def test_widths_and_strides(subject, backbone, images):
    assert backbone.channels["final"] == subject.width
    assert backbone.channels["pre_logits"] == (subject.n_pre_logits or subject.width)
    assert backbone.channels["logits"] == 1000
    outputs = backbone(images, backbone.layers)
    assert set(outputs.maps) == set(backbone.strides)
    for name, values in outputs.maps.items():
        stride = backbone.strides[name]
        assert outputs.strides[name] == stride
        assert values.shape[:2] == (2, backbone.channels[name])
        promised = [math.ceil(side / stride) for side in subject.size]
        if subject.is_padded:
            assert list(values.shape[2:]) == promised, name
        else:
            assert all(n <= p for n, p in zip(values.shape[2:], promised, strict=True)), name
    strides = [backbone.strides[name] for name in stage_names(backbone)]
    assert strides == sorted(strides)


# ---- rows ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forward(backbone):
    features = [f"{name}.avg" for name in stage_names(backbone)[::2]]
    features += ["final.max", "final.map", "pre_logits", "logits"]
    return Forward(backbone, [parse_feature(name) for name in features], device="cpu")


@pytest.fixture(scope="module")
def pixels(subject):
    return np.random.default_rng(0).integers(0, 256, (8, *subject.size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def rows(forward, pixels):
    return forward.rows(pixels)


def test_rows_are_of_their_image(backbone, rows, pixels):
    with torch.no_grad():
        values = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2) / 255
        mean, std = (
            torch.tensor(v)[:, None, None]
            for v in (backbone.spec.preprocess.mean, backbone.spec.preprocess.std)
        )
        outputs = backbone((values - mean) / std, ["final", "logits"])
    assert_near(rows["logits"], outputs.logits, 1e-5)
    assert_near(rows["final.max"], outputs.maps["final"].flatten(2).max(2).values, 1e-5)
    for name, values in rows.items():
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        scale = np.linalg.norm(values[0])
        assert all(np.linalg.norm(v - values[0]) > 1e-4 * scale for v in values[1:]), name


def test_rows_twice(forward, rows, pixels):
    again = forward.rows(pixels.copy())
    for name, values in rows.items():
        np.testing.assert_array_equal(again[name], values)


def test_rows_at_any_position(subject, forward, rows, pixels):
    order = np.array([3, 0, 5, 1, 7, 2, 6, 4])
    moved = forward.rows(pixels[order])
    padded = forward.rows(pixels[[5] * 8])  # as the last batch is, when one image is left
    for name, values in rows.items():
        if subject.name in HAVE_SIGMOIDS:
            assert_near(moved[name], values[order], 1e-5)
            assert_near(padded[name], values[[5] * 8], 1e-5)
        else:
            np.testing.assert_array_equal(moved[name], values[order])
            np.testing.assert_array_equal(padded[name], values[[5] * 8])


@pytest.mark.parametrize("size", [1, 3])
def test_rows_in_other_batch_sizes(forward, rows, pixels, size):
    other = [forward.rows(pixels[i : i + size]) for i in range(0, 6, size)]
    for name, values in rows.items():
        given = np.concatenate([r[name] for r in other])
        for row, expected in zip(given, values[:6], strict=True):
            assert_near(row, expected, 1e-5)


# ---- frozen -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["backbone", "stages"])
def test_frozen(request, kind, images):
    frozen = request.getfixturevalue(kind)
    layers = stage_names(frozen) if kind == "stages" else list(frozen.layers)
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    expected = frozen(images, layers)
    assert frozen.train() is frozen
    with torch.enable_grad():
        outputs = frozen(images, layers)
    assert not any(module.training for module in frozen.modules())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    for name, values in outputs.maps.items():
        assert not values.requires_grad
        assert torch.equal(values, expected.maps[name])
    after = frozen.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


# ---- random weights -----------------------------------------------------------------


def test_random_weights_depend_on_the_seed_only(subject, backbone, theirs):
    torch.manual_seed(1234)
    state = torch.get_rng_state()
    again, other = create(subject), create(subject, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    ours = [b.network.network.state_dict() for b in (backbone, again, other)]
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours[0][name], value), name
        assert torch.equal(ours[1][name], value), name
    different = from_timm(subject, seed=1).state_dict()
    assert any(not torch.equal(ours[0][name], value) for name, value in different.items())
    assert all(torch.equal(ours[2][name], value) for name, value in different.items())
    assert {b.weights_digest for b in (backbone, again)} == {"random:0"}
    assert other.weights_digest == "random:1"
