"""Model cards: what stands in them, and what must not."""

import json
import re

import numpy as np
import pytest

from tests.pictures import coloured
from transferkit import artifacts
from transferkit.artifacts.description import content_digest
from transferkit.backbones import resolve_backbone
from transferkit.cards import head_facts, model_card, versions, weights_licence
from transferkit.estimators import FeatureExtractor, TransferClassifier, TransferRegressor
from transferkit.heads import create_head

IMAGES, CODES = coloured(6)
NAMES = np.array(["red", "a `b`", "x | y\n# z"])


def extractor(**options):
    options = {"pretrained": False, "image_size": 32, "store": False, **options}
    return FeatureExtractor(options.pop("name", "test_resnet"), **options)


@pytest.fixture
def saved(tmp_path):
    model = TransferClassifier(extractor(), create_head("linear", C=0.5))
    model.fit(IMAGES, NAMES[CODES])
    model.facts_ = {
        "data": {"images": "hands"},
        "metrics": [{"name": "accuracy", "value": 0.9, "low": 0.85, "high": 0.95, "n": 413}],
        "recipe": {"epochs": 3},
    }
    return model.save(tmp_path / "model")


def test_every_saved_model_has_one(saved):
    card = (saved / "README.md").read_text(encoding="utf-8")
    assert card == model_card(artifacts.describe(saved))
    for part in ("Use", "Classes", "Data", "Metrics", "Recipe", "Versions", "Licence"):
        assert f"\n## {part}\n" in card
    assert card.startswith("# linear on test_resnet\n")
    assert "| accuracy | 0.9 | 0.85 to 0.95 | 413 |" in card
    for told in ("- images: `hands`", "- epochs: 3", "- C: 0.5", "- trained on: 18 images"):
        assert f"\n{told}\n" in card
    assert "`random:0`" in card
    for name, version in versions().items():
        assert f"{name} {version}" in card


def test_names_are_shown_as_they_are_and_open_no_heading(saved):
    card = (saved / "README.md").read_text(encoding="utf-8")
    assert "`` a `b` ``, `red`, `x | y # z`" in card
    assert re.findall(r"^# .*$", card, re.M) == ["# linear on test_resnet"]


def test_no_path_of_this_machine(tmp_path):
    from tests.artifacts.models import IMAGES as images  # 64 px, as the local folder's network

    folder = tmp_path / "secret" / "weights"
    folder.mkdir(parents=True)
    model = TransferClassifier(extractor()).fit(images, CODES)
    content = artifacts.describe(model.save(tmp_path / "secret" / "model"))
    content["backbone"]["name"] = f"local-dir:{folder}"
    assert "secret" not in model_card(content)
    assert "secret" not in model_card(content, library="timm")


def test_facts_come_back_and_a_new_fit_forgets_them(saved):
    model = TransferClassifier.load(saved, store=False)
    assert model.facts_["recipe"] == {"epochs": 3}
    assert model.save(saved, overwrite=True) == saved
    assert artifacts.describe(saved)["facts"] == model.facts_
    assert model.fit(IMAGES, CODES).facts_ == {}
    card = model.save(saved, overwrite=True) / "README.md"
    assert "Not measured on images that were held out." in card.read_text(encoding="utf-8")


def test_the_card_is_the_users_to_edit(saved):
    (saved / "README.md").write_text("mine")
    assert len(TransferClassifier.load(saved, store=False).classes_) == 3
    (saved / "README.md").unlink()
    TransferClassifier.load(saved, store=False)


def test_a_model_without_facts_loads(saved):
    content = artifacts.describe(saved)
    del content["facts"], content["weights_licence"], content["architecture"]
    content["head"] = {"type": content["head"]["type"]}
    content["digest"] = content_digest(content)
    (saved / "model.json").write_text(json.dumps(content), encoding="utf-8")
    assert TransferClassifier.load(saved, store=False).facts_ == {}
    assert "# linear on unknown\n" in model_card(content)


def test_a_regression_and_several_labels(tmp_path):
    model = TransferRegressor(extractor(), "ridge").fit(IMAGES, CODES)
    card = (model.save(tmp_path / "numbers") / "README.md").read_text(encoding="utf-8")
    assert "A regression of 1 number(s) per image" in card
    assert "TransferRegressor.load" in card
    several = np.stack([CODES == 0, CODES > 0], axis=1).astype(int)
    model = TransferClassifier(extractor(), "ridge").fit(IMAGES, several)
    card = (model.save(tmp_path / "several") / "README.md").read_text(encoding="utf-8")
    assert "images that may have several of 2 labels" in card


def test_many_names_are_cut_short(saved):
    content = artifacts.describe(saved) | {"classes": list(range(1000))}
    assert "`199` and 800 more\n" in model_card(content)


def test_front_matter_of_the_hub(saved):
    content = artifacts.describe(saved)
    licensed = model_card(content | {"weights_licence": "Apache-2.0"}, library="timm", use="So.")
    assert "\nlicense: apache-2.0\n" in licensed
    assert "\n## Use\n\nSo.\n" in licensed
    assert "license:" not in model_card(content | {"weights_licence": "own"}, library="timm")


def test_licences_of_weights(tmp_path):
    assert "random" in weights_licence(resolve_backbone("test_resnet", False))
    assert weights_licence(resolve_backbone("bundled:mobilenetv2_050_distilled")).startswith(
        "Apache-2.0"
    )
    own = tmp_path / "own.safetensors"
    from safetensors.numpy import save_file

    save_file({"fc.weight": np.zeros((3, 96), np.float32)}, own)
    assert weights_licence(resolve_backbone("test_resnet", weights=own)).startswith("not stated")
    (tmp_path / "net").mkdir()
    own.rename(tmp_path / "net" / "model.safetensors")
    config = {"architecture": "test_resnet", "pretrained_cfg": {"license": "mit"}}
    (tmp_path / "net" / "config.json").write_text(json.dumps(config))
    assert weights_licence(resolve_backbone(f"local-dir:{tmp_path / 'net'}")) == "mit"


def test_parameters_that_json_does_not_know():
    head = create_head("lda", priors=np.full(300, 1 / 300))
    facts = head_facts(head)["parameters"]
    assert len(facts["priors"]) == 80
    head = create_head("ridge", alpha=float("inf"), alphas=(np.float32(0.5),))
    assert head_facts(head)["parameters"]["alpha"] == "inf"
    json.dumps(head_facts(create_head("mlp", learning_rate=np.float64(0.5))), allow_nan=False)
