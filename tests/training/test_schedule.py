import re

import pytest
import torch

from tests.finetune.conftest import extractor, small_training
from transferkit.finetune.image_head import ImageHead
from transferkit.finetune.network import build_network
from transferkit.finetune.recipe import Recipe
from transferkit.finetune.strategies import parse_strategy
from transferkit.training import TrainingSettings
from transferkit.training.schedule import (
    create_optimizer,
    parameter_groups,
    rate_at,
    running_mean,
    set_rate,
)

pytestmark = pytest.mark.finetuning


def optimizer_of(network, settings):
    """Optimizer of a small network and its head."""
    groups = parameter_groups(network.body.network, network.head, settings)
    return create_optimizer(groups, settings)


def resnet(**settings):
    """A real network of several layers, its optimizer, and the group of every parameter."""
    recipe = Recipe(epochs=1, batch_size=4, weight_decay=0.05, **settings)
    spec = extractor().resolve()
    network, _ = build_network(
        spec, parse_strategy("lp-ft"), recipe, lambda n: ImageHead(n, 3), None
    )
    optimizer = optimizer_of(network, recipe.training_settings())
    group_of = {p: g for g in optimizer.param_groups for p in g["params"]}
    names = {n: group_of[p] for n, p in network.named_parameters() if p in group_of}
    return network, optimizer, names


def test_each_layer_has_its_share_of_the_rate():
    _, optimizer, groups = resnet(layer_decay=0.5)
    set_rate(optimizer, 0.8)
    rates = {n.removeprefix("body.network."): g["lr"] for n, g in groups.items()}
    assert rates["head.weight"] == rates["head.bias"] == 0.8
    layers = ["conv1.0.weight", "layer1.0.conv1.weight", "layer2.0.conv1.weight",
              "layer3.0.conv1.weight", "layer4.0.conv1.weight"]  # fmt: skip
    found = [rates[name] for name in layers]
    assert found == pytest.approx([0.8 * 0.5**k for k in (5, 4, 3, 2, 1)])
    set_rate(optimizer, 0.1)
    assert groups["body.network.layer4.0.conv1.weight"]["lr"] == pytest.approx(0.05)


@pytest.mark.parametrize("layer_decay", [0.5, 1.0])
def test_vectors_have_no_decay(layer_decay):
    network, _, groups = resnet(layer_decay=layer_decay)
    trained = {n for n, p in network.named_parameters() if p.requires_grad}
    assert groups.keys() == trained
    for name, parameter in network.named_parameters():
        if name in groups:
            expected = 0.05 if parameter.ndim > 1 else 0.0
            assert groups[name]["weight_decay"] == expected, name


def test_what_a_network_names_has_no_decay():
    training = small_training(None, weight_decay=0.5)
    training.network.body.network.no_weight_decay = lambda: {"1.weight"}
    optimizer = optimizer_of(training.network, training.settings)
    decays = {p: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    named = dict(training.network.named_parameters())
    assert decays[named["body.network.1.weight"]] == 0
    assert decays[named["head.weight"]] == 0.5


def test_the_optimizer_is_the_one_that_is_named():
    for name, kind in (("adamw", torch.optim.AdamW), ("momentum", torch.optim.SGD)):
        training = small_training(None, optimizer=name)
        assert isinstance(optimizer_of(training.network, training.settings), kind)
    training = small_training(None, optimizer="fusedadam")
    with pytest.raises(ValueError, match=re.escape("optimizer 'fusedadam' can't be created (")):
        optimizer_of(training.network, training.settings)


def test_rate_without_warm_up_and_of_one_step():
    settings = TrainingSettings(epochs=1, batch_size=1, learning_rate=2.0, warmup=0.0)
    assert rate_at(0, 1, settings) == rate_at(0, 7, settings) == 2.0
    assert rate_at(5, 10, settings) == pytest.approx(1.0)
    assert 0 < rate_at(9, 10, settings) < 0.1


def test_without_a_running_mean_there_is_none():
    training = small_training(None)
    assert running_mean(training.network, training.settings) is None
    training = small_training(None, ema=0.7)
    mean = running_mean(training.network, training.settings)
    assert mean.decay == 0.7
    assert mean.module is not training.network
