"""A neck and a head as one module that can be made again from plain values."""

import json

import pytest
import torch

from transferkit.dense.network import Level, SegmentationNetwork

LEVELS = [Level("stage1", 8, 4), Level("stage2", 16, 8), Level("stage3", 24, 16)]


def levels_of(batch=2, dtype=torch.float32):
    sizes = [(13, 17), (7, 9), (4, 5)]
    torch.manual_seed(0)
    return [
        torch.randn(batch, level.channels, *size).to(dtype)
        for level, size in zip(LEVELS, sizes, strict=True)
    ]


@pytest.mark.parametrize("head", ["linear", "fpn"])
@pytest.mark.parametrize("neck", ["none", "fpn"])
def test_made_again_from_its_arguments_and_tensors(head, neck):
    network = SegmentationNetwork(LEVELS, 3, head=head, neck=neck, neck_options={}).eval()
    arguments = json.loads(json.dumps(network.arguments))
    tensors = {n: t.numpy() for n, t in network.state_dict().items()}
    again = SegmentationNetwork.restored(arguments, tensors)
    assert torch.equal(again(levels_of()), network(levels_of()))


def test_maps_of_half_precision_are_taken():
    network = SegmentationNetwork(LEVELS, 3, head="linear", neck="none").eval()
    half = levels_of(dtype=torch.float16)
    assert torch.equal(network(half), network([level.float() for level in half]))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: a.pop("levels"),
        lambda a: a.update(levels=[["a", "b", "c"]]),
        lambda a: a.update(n_classes="many"),
        lambda a: a.update(other=1),
        lambda a: a.update(head_options=5),
        lambda a: a.update(head="no such head"),
        lambda a: a.update(levels=[["a", -3, 4]]),
    ],
)
def test_arguments_that_make_no_network_are_refused(spoil):
    arguments = dict(SegmentationNetwork(LEVELS, 3, head="linear", neck="none").arguments)
    spoil(arguments)
    with pytest.raises(ValueError, match=r"."):
        SegmentationNetwork.from_arguments(arguments)


def test_tensors_of_another_network_are_refused():
    network = SegmentationNetwork(LEVELS, 3, head="linear", neck="none")
    other = SegmentationNetwork(LEVELS, 4, head="linear", neck="none")
    tensors = {n: t.numpy() for n, t in other.state_dict().items()}
    with pytest.raises(ValueError, match="aren't those of its arguments"):
        SegmentationNetwork.restored(network.arguments, tensors)
