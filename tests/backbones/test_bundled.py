"""The backbones that come with the package: they are small, described, and see something."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from transferkit import FeatureExtractor, TransferClassifier, create_backbone
from transferkit.backbones import bundled, resolve_backbone, search_backbones
from transferkit.digests import DigestMemory

NAMES = bundled.names()
every_name = pytest.mark.parametrize("name", NAMES)


def path(name):
    return bundled._FOLDER / f"{name}.safetensors"


def test_which_there_are():
    assert NAMES
    files = {p.name for p in bundled._FOLDER.iterdir()}
    assert files == {f"{n}{end}" for n in NAMES for end in (".json", ".safetensors")}


def test_the_bare_word_is_the_first():
    assert resolve_backbone("bundled") == resolve_backbone(f"bundled:{NAMES[0]}")
    assert resolve_backbone("bundled", False, seed=3).weights == "random:3"
    assert FeatureExtractor("bundled").resolve().name == f"bundled:{NAMES[0]}"


@every_name
def test_it_is_small(name):
    assert path(name).stat().st_size <= 2_000_000
    backbone = create_backbone(f"bundled:{name}")
    assert sum(p.numel() for p in backbone.parameters()) <= 1_000_000
    assert all(96 <= side <= 128 for side in backbone.preprocess.image_size)


@every_name
def test_the_card_says_where_it_comes_from(name):
    card = bundled.card(f"bundled:{name}")
    assert card["licence"].startswith("Apache-2.0")
    assert card["teacher"]["licence"] == "Apache-2.0"
    assert card["known_limits"]
    for data in card["training_data"]:
        assert data["licence"]
        assert data["name"]
    digest = DigestMemory().digests([path(name)]).values[0].hex()
    assert card["weights_sha256"] == digest


@every_name
def test_it_has_its_weights_and_preprocessing(name):
    backbone, card = create_backbone(f"bundled:{name}"), bundled.card(name)
    stored = load_file(path(name))
    ours = backbone.network.network.state_dict()
    assert set(ours) == set(stored)
    for key, values in stored.items():
        torch.testing.assert_close(ours[key], values.to(ours[key].dtype), rtol=0, atol=0)
    assert all(p.dtype == torch.float32 for p in backbone.parameters())
    preprocess = backbone.preprocess
    assert preprocess.mean == tuple(card["mean"])
    assert preprocess.std == tuple(card["std"])
    assert preprocess.crop_pct == 1
    assert "logits" not in backbone.layers
    assert len(backbone.strides) >= 5


@every_name
def test_options_pass_through(name):
    spec = resolve_backbone(f"bundled:{name}", image_size=64, crop_pct=0.9, output_stride=16)
    assert spec.preprocess.image_size == (64, 64)
    assert spec.preprocess.crop_pct == 0.9
    assert json.loads(spec.feature_spec("final.avg").arguments)["output_stride"] == 16
    own, random = (resolve_backbone(f"bundled:{name}", pretrained=p) for p in (True, False))
    assert random.weights == "random:0"
    assert random.preprocess == own.preprocess
    assert own.feature_spec("final.avg").key != random.feature_spec("final.avg").key


def test_it_is_listed_without_being_built():
    [info] = search_backbones("bundled:*")
    assert info.name == f"bundled:{NAMES[0]}"
    assert info.n_parameters == sum(p.numel() for p in create_backbone(info.name).parameters())
    assert info.layers == create_backbone(info.name).layers
    with pytest.raises(ValueError, match="unknown bundled backbone 'resnet'; known: "):
        create_backbone("bundled:resnet")


def digits(n):
    grey = np.rint(load_digits().images[:n] * (255 / 16)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3), load_digits().target[:n]


@pytest.mark.suites
def test_it_sees_more_than_random_weights_do():
    images, y = digits(500)
    scores = {}
    for pretrained in (True, False):
        extractor = FeatureExtractor(f"bundled:{NAMES[0]}", pretrained=pretrained, store=False)
        X = extractor.transform(images)
        head = TransferClassifier(extractor, "linear").fit(images[:300], y[:300])
        scores[pretrained] = (head.predict_features(X[300:]) == y[300:]).mean()
    assert scores[True] > 0.72
    assert scores[True] > scores[False] + 0.06


def test_a_saved_model_takes_it_along(tmp_path):
    images, y = digits(60)
    extractor = FeatureExtractor(f"bundled:{NAMES[0]}", store=False)
    model = TransferClassifier(extractor, "centroid").fit(images, y)
    model.save(tmp_path / "model")
    assert (tmp_path / "model" / "backbone" / "weights.safetensors").is_file()
    again = TransferClassifier.load(tmp_path / "model", store=False)
    np.testing.assert_array_equal(again.predict(images), model.predict(images))
