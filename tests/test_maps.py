import dataclasses

import pytest
import torch

from transferkit.maps import FeatureMaps, LayerInfo


def test_layer_info():
    assert LayerInfo(512, 32).is_map
    assert not LayerInfo(512, 0).is_map
    assert not LayerInfo(512, 32).has_class_token


def test_maps_alone_are_enough():
    maps = FeatureMaps({"stage0": torch.zeros(1, 2, 3, 4)}, {"stage0": 4})
    assert maps.prefix == {}
    assert maps.pre_logits is None
    assert maps.logits is None


def test_frozen():
    maps = FeatureMaps({}, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        maps.logits = torch.zeros(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        LayerInfo(1, 1).stride = 2
