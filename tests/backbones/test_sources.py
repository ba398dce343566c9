"""One suite for every source of backbones: a file of the folder is tried by its example.

A source is an independent implementation of `transferkit.backbones.Source`; nothing here
knows its name.
"""

import copy
import dataclasses
import inspect
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import transferkit.backbones
from tests.pictures import coloured, picture
from transferkit import FeatureExtractor, TransferClassifier, registry
from transferkit.backbones import (
    Source,
    build_backbone,
    create_backbone,
    layers_of,
    resolve_backbone,
    search_backbones,
)
from transferkit.forward import clear
from transferkit.spec import BackboneSpec

SOURCES = registry.names("transferkit.backbones")
SIZE = (96, 64)


@pytest.fixture(params=SOURCES, scope="module")
def source(request):
    return registry.load("transferkit.backbones", request.param, "source")


@pytest.fixture
def name(source):
    return source.EXAMPLE


@pytest.fixture(scope="module")
def backbone(source):
    return create_backbone(source.EXAMPLE, pretrained=False, image_size=SIZE)


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def extractor(name, **options):
    return FeatureExtractor(name, pretrained=False, image_size=SIZE, device="cpu", **options)


def test_every_file_is_a_subject():
    folder = Path(transferkit.backbones.__file__).parent
    assert len(SOURCES) == len(list(folder.glob("[!_]*.py"))) > 1


def test_the_contract_is_kept(source):
    for function in ("resolve", "build", "layers", "search"):
        given, promised = (
            list(inspect.signature(getattr(owner, function)).parameters.items())
            for owner in (source, Source)
        )
        promised = promised[1:]  # without self
        assert [n for n, _ in given] == [n for n, _ in promised], function
        assert [p.kind for _, p in given] == [p.kind for _, p in promised], function


def test_layers_are_known_without_weights(name, backbone):
    spec = resolve_backbone(name, pretrained=False, image_size=SIZE)
    assert layers_of(spec) == backbone.layers
    assert list(layers_of(spec)) == list(backbone.layers)  # fine to coarse


def test_a_name_is_always_resolved_to_the_same(name):
    spec, again = (resolve_backbone(name, pretrained=False) for _ in range(2))
    assert spec == again
    assert BackboneSpec.from_json(spec.to_json()).to_json() == spec.to_json()
    assert spec.is_random
    assert spec.source in SOURCES
    assert resolve_backbone(spec.name, pretrained=False) == spec


def test_wishes_reach_the_preprocessing(name):
    own = resolve_backbone(name, pretrained=False).preprocess
    wishes = {
        "image_size": (64, 96),
        "crop_pct": 0.5,
        "crop_mode": "border" if own.crop_mode != "border" else "center",
        "interpolation": "bilinear" if own.interpolation != "bilinear" else "bicubic",
        "exif": True,
        "decode": "scaled",
    }
    found = resolve_backbone(name, pretrained=False, **wishes).preprocess
    assert found == dataclasses.replace(own, **wishes)
    assert (own.exif, own.decode) == (False, "exact")


def test_wrong_names_and_arguments(name, source):
    prefix = name.partition(":")[0] if ":" in name else registry_name(source)
    with pytest.raises(ValueError, match=r"unknown .*'no-such-model'"):
        resolve_backbone(f"{prefix}:no-such-model", pretrained=False)
    with pytest.raises(ValueError, match=r"takes no creation arguments|doesn't take"):
        create_backbone(name, pretrained=False, no_such_argument=1)


def registry_name(source):
    return source.__name__.rpartition(".")[2].replace("_", "-")


def test_weights_that_do_not_exist(name, tmp_path):
    with pytest.raises(OSError, match="absent"):
        resolve_backbone(name, weights=tmp_path / "absent.safetensors")


def test_layers_are_what_they_are_said_to_be(backbone, images):
    with torch.inference_mode():
        maps = backbone(images, list(backbone.layers))
    assert list(maps.maps) == list(backbone.strides)
    for layer, values in maps.maps.items():
        assert values.shape[:2] == (len(images), backbone.channels[layer])
        for given, size in zip(values.shape[2:], SIZE, strict=True):
            assert abs(given - size / backbone.strides[layer]) <= 1
    for layer in ("pre_logits", "logits"):
        if layer in backbone.layers:
            assert getattr(maps, layer).shape == (len(images), backbone.channels[layer])
    assert "pre_logits" in backbone.layers


def test_it_is_frozen(backbone, images):
    before = {n: t.clone() for n, t in backbone.state_dict().items()}
    backbone.train()
    with torch.inference_mode():
        backbone(images, ["pre_logits"])
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert all(torch.equal(t, before[n]) for n, t in backbone.state_dict().items())


def test_one_layer_is_the_same_alone(backbone, images):
    with torch.inference_mode():
        whole = backbone(images, list(backbone.layers))
        for layer in (next(iter(backbone.strides)), "pre_logits"):
            alone = build_backbone(backbone.spec, layers=[layer])(images, [layer])
            found = alone.pre_logits if layer == "pre_logits" else alone.maps[layer]
            expected = whole.pre_logits if layer == "pre_logits" else whole.maps[layer]
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_layers_that_do_not_exist(backbone):
    with pytest.raises(ValueError, match=r"unknown layer of .*'no-such-layer'"):
        build_backbone(backbone.spec, layers=["no-such-layer"])


def test_random_weights_are_the_seeds(name, backbone, images):
    state = torch.get_rng_state()
    same, other = (create_backbone(name, False, seed=s, image_size=SIZE) for s in (0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    with torch.inference_mode():
        rows = [b(images, ["pre_logits"]).pre_logits for b in (backbone, same, other)]
    assert torch.equal(rows[0], rows[1])
    assert not torch.allclose(rows[0], rows[2])
    keys = [b.spec.feature_spec("pre_logits").key for b in (backbone, same, other)]
    assert keys[0] == keys[1] != keys[2]


def test_copies_are_the_backbone_itself(backbone, images):
    assert copy.deepcopy(backbone) is backbone
    pickled = pickle.dumps(backbone)
    assert len(pickled) < 100_000  # how it is made, not its weights
    again = pickle.loads(pickled)
    assert again.spec.to_json() == backbone.spec.to_json()
    with torch.inference_mode():
        for layer in backbone.strides:
            assert torch.equal(
                again(images, [layer]).maps[layer], backbone(images, [layer]).maps[layer]
            )


def test_a_full_hit_of_the_store_builds_nothing(name, tmp_path, monkeypatch):
    pictures = [picture(i) for i in range(3)]
    options = {"features": ["pre_logits", "final.avg"], "store": tmp_path}
    rows = extractor(name, **options).transform(pictures)
    assert np.isfinite(rows).all()
    assert len(rows) == 3
    clear()

    def build(*arguments, **options):
        raise AssertionError("a network was built")

    monkeypatch.setattr("transferkit.forward.engines.build_backbone", build)
    np.testing.assert_array_equal(extractor(name, **options).transform(pictures), rows)
    with pytest.raises(AssertionError, match="was built"):
        extractor(name, **options).transform([picture(9)])


def test_a_saved_model_predicts_the_same(name, tmp_path):
    pictures, labels = coloured(4)
    model = TransferClassifier(extractor(name, store=False), "centroid").fit(pictures, labels)
    model.save(tmp_path / "model")
    loaded = TransferClassifier.load(tmp_path / "model", device="cpu", store=False)
    assert loaded.extractor_.resolve() == model.extractor_.resolve()
    np.testing.assert_array_equal(loaded.predict_proba(pictures), model.predict_proba(pictures))


def test_it_is_found_by_a_search(name, source):
    spec = resolve_backbone(name, pretrained=False)
    found = {info.name: info for info in source.search(spec.name, 20)}
    info = found[spec.name]
    assert info.n_parameters > 0
    assert set(info.layers) == set(build_backbone(spec).layers)
    assert source.search("no such model", 20) == []
    assert spec.name in [info.name for info in search_backbones(spec.name)]
