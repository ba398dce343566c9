from functools import partial

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from transferkit.backbones import create_backbone
from transferkit.forward import fusing
from transferkit.forward.folding import relative_error
from transferkit.forward.torch_engine import TorchEngine

pytestmark = pytest.mark.engines

IMAGE = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def run(network, image=IMAGE):
    with torch.no_grad():
        return [network(image)]


def lively(name, **options):
    """A network whose residual branches do something: norms with random scales."""
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, **options).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
    return network


# Activations behind norms stay, as nothing is folded here: of those only layers are replaced.
@pytest.mark.parametrize(
    ("name", "options", "n_activations"),
    [
        ("vgg11", {}, 10),
        ("test_vit", {"img_size": 64}, 6),
        ("test_resnet", {}, 0),
        ("mobilenetv3_small_050", {}, 19),
        ("convnext_atto", {}, 12),
        ("test_efficientnet", {}, 4),
    ],
)
def test_same_numbers(name, options, n_activations):
    network = lively(name, **options)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    (expected,) = run(network)
    fusions = fusing.find_fusions(network, run)
    assert len(fusions.activations) == n_activations
    layers = [m for m in network.modules() if type(m) in (nn.Conv2d, nn.Linear)]
    assert len(fusions.shapes) == len(layers)
    changed = fusing.fuse(network, fusions)
    (found,) = run(changed)
    assert relative_error(found, expected) <= 1e-5
    for n_images in (2, 8, 11):
        images = torch.randn(n_images, 3, 64, 64, generator=torch.Generator().manual_seed(2))
        assert relative_error(run(changed, images)[0], run(network, images)[0]) <= 1e-5
    # The network that was given is as it was.
    after = network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert torch.equal(run(network)[0], expected)


@pytest.mark.parametrize(
    "kind",
    [
        *(nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.Sigmoid, nn.Hardsigmoid),
        *(timm.layers.Swish, timm.layers.HardSwish, timm.layers.GELU, timm.layers.GELUTanh),
        *(timm.layers.Sigmoid, timm.layers.HardSigmoid, partial(nn.GELU, approximate="tanh")),
    ],
)
def test_every_activation(kind):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), kind(), nn.Flatten(2), nn.Linear(62 * 62, 5), kind()
    )
    fusions = fusing.find_fusions(network, run)
    assert fusions.activations == {"0": "1", "3": "4"}
    assert relative_error(run(fusing.fuse(network, fusions))[0], run(network)[0]) <= 1e-5


class Residual(nn.Module):
    """The sum is written where the convolution wrote: the same tensor, and not its output."""

    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, x):
        found = self.conv(x)
        found += 0.5 * x
        return self.act(found)


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 3, 3), nn.ReLU()

    def forward(self, x):
        return self.act(self.conv(x)) + self.act(x)[..., 1:-1, 1:-1]


class Tapped(nn.Module):
    """What the convolution gives is used beside its activation."""

    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 3, 3), nn.ReLU()

    def forward(self, x):
        found = self.conv(x)
        return found - self.act(found)


@pytest.mark.parametrize("kind", [Residual, Reused, Tapped])
def test_activations_that_do_not_belong_to_the_layer(kind):
    network = kind().requires_grad_(False)
    fusions = fusing.find_fusions(network, run)
    assert list(fusions.shapes) == ["conv"]
    assert not fusions.activations
    assert relative_error(run(fusing.fuse(network, fusions))[0], run(network)[0]) <= 1e-5


class Named(nn.Module):
    """A layer that gets its input by name can't be seen."""

    def __init__(self):
        super().__init__()
        self.named, self.plain = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x):
        return self.plain(self.named(input=x))


def test_layers_called_by_name_stay():
    network = Named().requires_grad_(False)
    fusions = fusing.find_fusions(network, run)
    assert list(fusions.shapes) == ["plain"]
    assert relative_error(run(fusing.fuse(network, fusions))[0], run(network)[0]) <= 1e-5


class Peeking(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 64)

    def forward(self, x):
        return self.head(x) + functional.linear(x, self.head.weight)


class Hooked(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.conv.register_forward_hook(lambda module, inputs, output: 2 * output)

    def forward(self, x):
        return self.conv(x)


@pytest.mark.parametrize(
    "network",
    [
        Peeking(),
        Hooked(),
        nn.Conv2d(3, 3, 3, padding="same"),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"),
        nn.ReLU(),
    ],
)
def test_what_is_left_alone(network):
    wrapped = nn.Sequential(network.requires_grad_(False))
    assert fusing.find_fusions(wrapped, run) is None


def test_without_onednn(monkeypatch):
    monkeypatch.setattr(fusing, "_is_there", lambda: False)
    assert fusing.find_fusions(nn.Sequential(nn.Conv2d(3, 3, 3)), run) is None


@pytest.mark.parametrize("kind", ["absent", "wrong", "called otherwise"])
def test_a_class_that_the_processor_has_no_kernels_for(kind, monkeypatch):
    reorder = torch.ops.mkldnn._reorder_convolution_weight

    def broken(weight, *options):
        if weight.dtype == torch.float32:
            return reorder(weight, *options)
        if kind == "absent":
            raise RuntimeError("bf16 path needs the cpu support avx512bw")
        if kind == "called otherwise":
            raise TypeError("_reorder_convolution_weight() takes 7 positional arguments")
        return reorder(weight.flip(0), *options)

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_convolution_weight", broken)
    backbone = create_backbone("test_resnet", False, image_size=64)
    for precision, is_fused in (("float32", True), ("bf16", False)):
        engine = TorchEngine(backbone, ["final"], torch.device("cpu"), precision)
        assert engine.is_fused == is_fused
        pixels = torch.zeros(2, 64, 64, 3, dtype=torch.uint8).numpy()
        with torch.inference_mode():
            assert engine(pixels).maps["final"].isfinite().all()


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext"])
def test_engines_have_it_on_a_cpu(name):
    backbone = create_backbone(name, False, image_size=64)
    pixels = torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8).numpy()
    expected = None
    for precision in ("float32", "bf16"):
        found = []
        for is_traced in (True, False):
            engine = TorchEngine(
                backbone, ["final"], torch.device("cpu"), precision, is_traced=is_traced
            )
            has_kernels = precision == "float32" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
            assert engine.is_fused == (has_kernels and not is_traced)
            with torch.inference_mode():
                found.append(engine(pixels).maps["final"].float())
        expected = found[0] if expected is None else expected
        assert relative_error(found[1], found[0]) <= (1e-5 if precision == "float32" else 0.05)
        assert relative_error(found[1], expected) <= (1e-5 if precision == "float32" else 0.05)
