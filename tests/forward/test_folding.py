import pytest
import timm
import torch
from torch import nn

from transferkit.backbones import create_backbone
from transferkit.forward.folding import folded, shallow_copy
from transferkit.forward.torch_engine import TorchEngine

pytestmark = pytest.mark.engines

IMAGE = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def lively(name, **options):
    """A network whose batch norms do something: statistics and scales drawn at random."""
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, **options).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return network


def run(network):
    with torch.no_grad():
        output = network(IMAGE)
    return list(output) if isinstance(output, list | tuple) else [output]


def norms(network):
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


# Of every kind of norm there is beside convolutions: with and without its own activation, in
# lists of stages, before the convolution (DenseNet keeps those), and none at all.
@pytest.mark.parametrize(
    ("name", "options", "n_left"),
    [
        ("test_resnet", {}, 0),
        ("resnet10t", {"features_only": True}, 0),
        ("mobilenetv3_small_050", {}, 0),
        ("efficientnet_b0", {"features_only": True, "out_indices": (1, 3)}, 0),
        ("regnetx_002", {}, 0),
        ("ghostnet_050", {}, 0),
        ("test_vit", {"img_size": 64}, 0),
    ],
)
def test_same_numbers_without_norms(name, options, n_left):
    network = lively(name, **options)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    expected = run(network)
    changed = folded(network, run)
    assert norms(changed) == n_left
    assert (changed is network) == (norms(network) == 0)
    for found, wanted in zip(run(changed), expected, strict=True):
        assert (found - wanted).norm() <= 1e-5 * wanted.norm()
    # The network that was given is as it was.
    after = network.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert all(torch.equal(f, e) for f, e in zip(run(network), expected, strict=True))


class Shared(nn.Module):
    """A convolution that is used twice, once without the norm: it can't hold it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.norm.running_mean.fill_(1.0)

    def forward(self, x):
        return self.norm(self.conv(x)) + self.conv(x)


class Tapped(nn.Module):
    """A convolution whose output is an output itself."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.norm.running_mean.fill_(1.0)

    def forward(self, x):
        inner = self.conv(x)
        return inner, self.norm(inner)


@pytest.mark.parametrize("kind", [Shared, Tapped])
def test_where_it_would_change_numbers_it_is_left(kind):
    network = kind().eval()
    assert folded(network, run) is network


def test_a_twin_shares_weights_and_nothing_else():
    network = lively("test_resnet")
    other = shallow_copy(network)
    mine, others = dict(network.named_parameters()), dict(other.named_parameters())
    assert list(mine) == list(others)
    assert all(mine[name] is others[name] for name in mine)
    assert all(a is b for a, b in zip(network.buffers(), other.buffers(), strict=True))
    assert not set(network.modules()) & set(other.modules())


def test_the_engine_folds_what_it_is_given():
    backbone = create_backbone("test_resnet", False, image_size=64)
    engine = TorchEngine(backbone, ["pre_logits"], torch.device("cpu"), "float32")
    assert engine.is_folded
    assert norms(engine.copy_network()) == 0
    assert norms(backbone.network) > 0
