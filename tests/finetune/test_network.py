import pytest
import torch

from tests.finetune.conftest import extractor
from transferkit.backbones import build_backbone
from transferkit.finetune.image_head import ImageHead
from transferkit.finetune.network import build_network, stage_below
from transferkit.finetune.recipe import Recipe
from transferkit.finetune.strategies import parse_strategy

pytestmark = pytest.mark.finetuning


def build(name="test_resnet", strategy="lp-ft", **settings):
    recipe = Recipe(epochs=1, batch_size=4, **settings)
    spec = extractor(name).resolve()
    return build_network(
        spec, parse_strategy(strategy), recipe, lambda width: ImageHead(width, 3), None
    )


def test_it_sees_what_the_backbone_sees():
    network, weights = build()
    backbone = build_backbone(extractor().resolve())
    pixels = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    preprocess = extractor().resolve().preprocess
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocess.mean, preprocess.std))
    with torch.no_grad():
        rows = backbone((pixels / 255 - mean) / std, ["pre_logits"]).pre_logits
        expected = rows @ network.head.weight.T + network.head.bias
        torch.testing.assert_close(network.eval()(pixels), expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(weights[n], t) for n, t in network.body.state_dict().items())
    with torch.no_grad():
        for name, parameter in network.body.named_parameters():
            parameter.add_(1)
            assert not torch.equal(weights[name], parameter), name


def test_the_backbones_own_classifier_is_not_trained():
    network, _ = build()
    frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"body.network.fc.weight", "body.network.fc.bias"}
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_dropped_paths(share):
    network, _ = build("test_convnext", drop_path=share)
    shares = [m.drop_prob or 0 for m in network.modules() if type(m).__name__ == "DropPath"]
    assert max(shares, default=0) == pytest.approx(share)
    # What is saved is another thing: its arguments are the backbone's own.
    assert "drop_path_rate" not in extractor("test_convnext").resolve().arguments


@pytest.mark.parametrize("on", [False, True])
def test_checkpointing_is_switched_on(on):
    network, _ = build(checkpointing=on)
    assert network.body.network.grad_checkpointing is on


def test_ranks_of_the_adapters():
    network, _ = build(strategy="lora", lora_rank=3)
    shapes = {p.shape[0] for n, p in network.named_parameters() if "lora_A" in n}
    assert shapes == {3}
    scalings = {s for m in network.modules() for s in getattr(m, "scaling", {}).values()}
    assert scalings == {2.0}
    # At the start an adapter adds nothing.
    pixels = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    plain, _ = build()
    plain.set_head(network.head.weight, network.head.bias)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(pixels), plain.eval()(pixels))


def test_statistics_are_learnt_where_the_recipe_says_so():
    norms = [
        [m.training for m in build(freeze_statistics=f)[0].train().modules()
         if isinstance(m, torch.nn.BatchNorm2d)]
        for f in (True, False)
    ]  # fmt: skip
    assert not any(norms[0])
    assert all(norms[1])
    assert len(norms[0]) > 3


def test_a_network_without_stages():
    backbone = build_backbone(extractor("test_vit", image_size=None).resolve())
    with pytest.raises(ValueError, match=r"needs a network with stages, and 'test_vit' has none"):
        stage_below(backbone.layers, 1, "test_vit")


def test_too_many_stages():
    layers = build_backbone(extractor().resolve()).layers
    with pytest.raises(ValueError, match="leaves no stage of 'x' to be cached: it has 5; choose "):
        stage_below(layers, 5, "x")
