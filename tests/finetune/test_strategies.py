import re

import pytest
import timm
import torch

from tests.finetune.conftest import classifier, extractor
from transferkit.backbones import build_backbone
from transferkit.finetune import choose_recipe, parse_strategy, strategy_names
from transferkit.finetune.strategies import choose_parameters, merge_adapters

pytestmark = pytest.mark.finetuning

NAMES = [name.replace("N", "1") for name in strategy_names()]


def tuned_names(strategy, network="test_resnet"):
    body = build_backbone(extractor(network).resolve()).network
    chosen = parse_strategy(strategy)
    choose_parameters(body, chosen, choose_recipe({}, chosen, 100))
    return {n.removeprefix("network.") for n, p in body.named_parameters() if p.requires_grad}


def test_unknown_strategy():
    with pytest.raises(
        ValueError, match=re.escape("unknown strategy 'lpft'; did you mean 'lp-ft'")
    ):
        parse_strategy("lpft")
    with pytest.raises(ValueError, match="unknown strategy 'last-0-stages'"):
        parse_strategy("last-0-stages")


def test_what_each_strategy_trains():
    network = timm.create_model("test_resnet")
    everything = {name for name, _ in network.named_parameters()}
    layers = {n for n, m in network.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    norms = {f"{n}.{kind}" for n in layers for kind in ("weight", "bias")}
    assert tuned_names("full") == tuned_names("lp-ft") == everything
    assert tuned_names("norm-only") == norms
    assert tuned_names("bias-only") == {n for n in everything if n.endswith(".bias")}
    assert all("lora_" in name for name in tuned_names("lora"))


def test_a_network_without_what_the_strategy_trains():
    with pytest.raises(ValueError, match="has nothing that strategy 'norm-only' trains"):
        choose_parameters(torch.nn.Linear(2, 2), parse_strategy("norm-only"), None)


@pytest.mark.parametrize("strategy", NAMES)
def test_only_what_it_trains_changes(strategy, pictures, tmp_path):
    images, labels = pictures
    model = classifier(tmp_path, strategy, learning_rate=0.01, validation_fraction=0.0)
    model.fit(images, labels)
    before = build_backbone(extractor().resolve()).network.state_dict()
    after = build_backbone(model.extractor_.resolve()).network.state_dict()
    changed = {
        n.removeprefix("network.")
        for n, value in before.items()
        if not torch.equal(value, after[n])
    }
    if strategy == "lora":
        assert changed
        assert all(name.endswith("weight") for name in changed)
    elif strategy == "last-1-stages":
        assert {name.partition(".")[0] for name in changed} == {"layer4"}
    else:
        own = tuned_names(strategy) - {"fc.weight", "fc.bias"}
        # A residual branch whose last scale is 0, as in random weights, holds back the rest.
        assert len(changed) > 0.6 * len(own)
        assert changed <= own


def test_merged_adapters_compute_the_same():
    body = build_backbone(extractor().resolve()).network.eval()
    strategy = parse_strategy("lora")
    choose_parameters(body, strategy, choose_recipe({}, strategy, 100))
    for name, parameter in body.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = body(images, {"pre_logits"}).pre_logits
        merge_adapters(body)
        given = body(images, {"pre_logits"}).pre_logits
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)
    fresh = build_backbone(extractor().resolve()).network
    assert body.state_dict().keys() == fresh.state_dict().keys()
