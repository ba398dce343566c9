import pytest
import torch

from tests.finetune.conftest import extractor
from transferkit.backbones import build_backbone, cut_above
from transferkit.backbones._cutting import _PassThrough
from transferkit.finetune.network import stage_below

NETWORKS = [
    "test_resnet",
    "test_efficientnet",
    "test_convnext",
    "mobilenetv3_small_050",
    "regnety_002",
    "densenet121",
    "swin_tiny_patch4_window7_224",
]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("n_stages", [1, 2])
def test_the_upper_part_goes_on_from_the_maps(name, n_stages):
    size = 64 if name != "swin_tiny_patch4_window7_224" else 224
    spec = extractor(name, image_size=size).resolve()
    backbone = build_backbone(spec)
    stage = stage_below(backbone.layers, n_stages, name)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = backbone(images, [stage, "pre_logits"])
    body = build_backbone(spec).network
    cut_above(body, stage, torch.randn(1, 3, size, size), name)
    maps = whole.maps[stage]
    with torch.no_grad():
        given = body(maps.permute(0, 2, 3, 1) if body.is_nhwc else maps, {"pre_logits"})
    torch.testing.assert_close(given.pre_logits, whole.pre_logits, rtol=1e-4, atol=1e-5)
    assert any(isinstance(module, _PassThrough) for module in body.modules())
    n_parameters = [sum(p.numel() for p in b.parameters()) for b in (body, backbone)]
    assert n_parameters[0] < n_parameters[1]


def test_what_cannot_be_cut_is_refused():
    class Crossing(torch.nn.Module):
        """Its upper part reads the images too."""

        is_nhwc = False

        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, images, layers):
            from transferkit.maps import FeatureMaps

            maps = self.network.layer1(images)
            rows = (self.network.layer2(maps) + images).mean((2, 3))
            return FeatureMaps({"stage0": maps}, {"stage0": 1}, {}, rows)

    network = torch.nn.Module()
    network.layer1 = torch.nn.Conv2d(3, 3, 1)
    network.layer2 = torch.nn.Conv2d(3, 3, 1)
    network.feature_info = [{"module": "layer1"}]
    with pytest.raises(ValueError, match="'crossing' can't be cut above 'stage0'"):
        cut_above(Crossing(network), "stage0", torch.randn(2, 3, 8, 8), "crossing")
