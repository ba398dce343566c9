"""The folder that timm loads, against the model and timm's own way to run it."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from tests.pictures import coloured, write_pictures
from transferkit.estimators import FeatureExtractor, TransferClassifier, TransferRegressor
from transferkit.export import export_model, format_names
from transferkit.heads import create_head

pytestmark = pytest.mark.engines

IMAGES, CODES = coloured(6)
NAMES = np.array(["red", "grün", "blue"])


def extractor(name="test_resnet", **options):
    options = {"image_size": 64, "crop_pct": 0.9, **options}
    return FeatureExtractor(name, pretrained=False, store=False, **options)


def by_timm(folder, paths):
    """Outputs of the network, as its card says how."""
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = create_transform(**resolve_model_data_config(network), is_training=False)
    images = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
    with torch.no_grad():
        return network(images), network


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_vit", "test_efficientnet", "mobilenetv3_small_050"]
)
def test_the_same_predictions_from_files(name, tmp_path, pil_pixels):
    paths = write_pictures(tmp_path / "images", range(5))
    options = {"image_size": 160} if name == "test_vit" else {}
    model = TransferClassifier(extractor(name, **options)).fit(IMAGES, NAMES[CODES])
    exported = export_model(model.save(tmp_path / "model"), format="timm")
    assert exported.path == tmp_path / "model-timm"
    logits, network = by_timm(exported.path, paths)
    np.testing.assert_allclose(logits.softmax(1), model.predict_proba(paths), atol=1e-5)
    names = network.pretrained_cfg["label_names"]
    assert [names[i] for i in logits.argmax(1)] == model.predict(paths).tolist()


@pytest.mark.parametrize(
    ("head", "y"),
    [
        (create_head("linear"), CODES > 0),
        (create_head("linear"), np.stack([CODES == 0, CODES > 0], axis=1).astype(int)),
        (create_head("ridge"), CODES),
        (create_head("lda"), CODES),
        (create_head("svm", kernel="linear"), CODES),
        (create_head("svm", kernel="linear"), CODES > 1),
    ],
)
def test_linear_heads(head, y, tmp_path):
    paths = write_pictures(tmp_path / "images", range(5))
    model = TransferClassifier(extractor(), head).fit(IMAGES, y)
    exported = export_model(model.save(tmp_path / "model"), tmp_path / "net", format="timm")
    logits, network = by_timm(exported.path, paths)
    if y.ndim == 2:
        np.testing.assert_allclose(logits.sigmoid(), model.predict_proba(paths), atol=1e-5)
        np.testing.assert_array_equal(logits > 0, model.predict(paths))
        return
    assert network.num_classes == len(model.classes_)
    np.testing.assert_array_equal(model.classes_[logits.argmax(1)], model.predict(paths))
    meaning = json.loads((exported.path / "config.json").read_text())["transferkit"]["outputs"]
    assert ("softmax" in meaning) == hasattr(model, "predict_proba")


@pytest.mark.parametrize("name", ["ridge", "svm"])
def test_numbers(name, tmp_path):
    parameters = {"kernel": "linear"} if name == "svm" else {}
    paths = write_pictures(tmp_path / "images", range(5))
    head = create_head(name, "regression", **parameters)
    model = TransferRegressor(extractor(), head).fit(IMAGES, np.stack([CODES, 5 - CODES], 1))
    exported = export_model(model.save(tmp_path / "model"), format="timm")
    values, _ = by_timm(exported.path, paths)
    np.testing.assert_allclose(values, model.predict(paths), atol=1e-4)


def test_a_folder_that_transferkit_wrote_is_a_backbone(tmp_path):
    """Tokens, its own size and arguments: all stands in the configuration."""
    own = extractor("test_vit", image_size=(96, 128), arguments={"class_token": True})
    model = TransferClassifier(own).fit(IMAGES, CODES)
    exported = export_model(model.save(tmp_path / "model"), format="timm")
    config = json.loads((exported.path / "config.json").read_text())
    assert config["model_args"]["img_size"] == [96, 128]
    assert config["pretrained_cfg"]["input_size"] == [3, 96, 128]
    again = FeatureExtractor(f"local-dir:{exported.path}", store=False)
    assert again.resolve().preprocess == own.resolve().preprocess
    np.testing.assert_allclose(again.transform(IMAGES), own.transform(IMAGES), atol=1e-5)
    assert sorted(p.name for p in exported.path.iterdir()) == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    card = (exported.path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: timm\n")
    assert str(tmp_path) not in card + json.dumps(config)


@pytest.mark.parametrize(
    ("options", "head", "reason"),
    [
        ({}, "centroid", "head 'centroid' isn't linear"),
        ({}, "svm", "head 'svm' isn't linear"),
        ({"features": "stage2.avg"}, "linear", "trained on stage2.avg, and timm's classifier"),
    ],
)
def test_what_timm_cannot_express(options, head, reason, tmp_path):
    model = TransferClassifier(extractor(**options), head).fit(IMAGES, CODES)
    with pytest.raises(ValueError, match=rf"{reason}.*--format onnx"):
        export_model(model.save(tmp_path / "model"), format="timm")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_networks_that_timm_does_not_have(tmp_path):
    own = FeatureExtractor("torchvision:alexnet", pretrained=False, image_size=64, store=False)
    model = TransferClassifier(own, "ridge").fit(IMAGES, CODES)
    with pytest.raises(ValueError, match=r"'torchvision:alexnet' is none of timm's.*--format onnx"):
        export_model(model.save(tmp_path / "model"), format="timm")


def test_two_classifiers_are_one_too_many(tmp_path):
    own = extractor("deit_tiny_distilled_patch16_224", image_size=32)
    model = TransferClassifier(own, "ridge").fit(IMAGES, CODES)
    with pytest.raises(ValueError, match="has no single linear classifier that a head could"):
        export_model(model.save(tmp_path / "model"), format="timm")


def test_only_an_earlier_export_is_replaced(tmp_path):
    saved = TransferClassifier(extractor(), "ridge").fit(IMAGES, CODES).save(tmp_path / "model")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    with pytest.raises(FileExistsError, match="is no earlier export of this format"):
        export_model(saved, tmp_path / "mine", format="timm", overwrite=True)
    made = export_model(saved, tmp_path / "net", format="timm").path
    with pytest.raises(FileExistsError, match="exists; choose another place"):
        export_model(saved, made, format="timm")
    (made / "README.md").write_text("edited")
    with pytest.raises(RuntimeError, match=r"differs from the model by .* and wasn't kept"):
        export_model(saved, made, format="timm", overwrite=True, tolerance=-1.0)
    assert (made / "README.md").read_text() == "edited"
    export_model(saved, made, format="timm", overwrite=True)
    assert (made / "README.md").read_text() != "edited"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "model", "net"]


def test_the_formats():
    assert format_names() == ["onnx", "timm"]
