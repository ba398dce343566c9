"""Segmenters and anomaly detectors as ONNX files."""

import json

import numpy as np
import onnxruntime
import pytest

from transferkit.estimators import AnomalyDetector, FeatureExtractor, TransferSegmenter
from transferkit.export import export_model

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 60, (12, 64, 64, 3), dtype=np.uint8)
    pixels[:, :, 32:] += 180
    return pixels


@pytest.fixture(scope="module")
def extractor():
    return FeatureExtractor(
        "resnet18", pretrained=False, image_size=64, crop_mode="squash", crop_pct=1.0, store=False
    )


def run(path, pixels):
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    meta = json.loads(session.get_modelmeta().custom_metadata_map["transferkit"])
    return dict(zip(names, session.run(names, {"pixels": pixels}), strict=True)), meta


@pytest.mark.parametrize("head", ["linear", "fpn", "upernet"])
def test_a_segmenter_gives_the_same_classes(extractor, images, tmp_path, head):
    maps = [(image[:, :, 0] > 100).astype(int) for image in images]
    model = TransferSegmenter(extractor, head, recipe={"epochs": 2}).fit(images, maps)
    model.save(tmp_path / "model")
    done = export_model(tmp_path / "model", format="onnx")
    assert done.check.passed
    found, meta = run(done.path, images[:3])
    expected = [one.map for one in model.predict(images[:3])]
    assert (found["classes"] == np.stack(expected)).mean() > 0.999
    assert found["scores"].shape == (3, 2, 64, 64)
    assert meta["task"] == "segmentation"
    assert meta["names"] == list(model.classes_)


def test_a_batch_of_any_size_for_a_network_without_stages(images, tmp_path):
    """The check runs batches of 8 and of 1, and the exporter saw one of 2."""
    extractor = FeatureExtractor(
        "test_vit", pretrained=False, image_size=64, crop_mode="squash", crop_pct=1.0, store=False
    )
    maps = [(image[:, :, 0] > 100).astype(int) for image in images]
    model = TransferSegmenter(extractor, "linear", recipe={"epochs": 1}).fit(images, maps)
    assert model.extractor_.feature_names == ["final.map"]
    model.save(tmp_path / "model")
    assert export_model(tmp_path / "model").check.passed


@pytest.mark.parametrize("head", ["patchcore", "padim", "mahalanobis", "knn"])
def test_a_detector_gives_the_same_scores(extractor, images, tmp_path, head):
    model = AnomalyDetector(extractor, head).fit(images)
    model.save(tmp_path / "model")
    done = export_model(tmp_path / "model", format="onnx")
    assert done.check.passed
    found, meta = run(done.path, images[:3])
    expected = [one.score for one in model.predict(images[:3])]
    assert found["score"] == pytest.approx(expected, rel=1e-2, abs=1e-3)
    assert meta["head"]["type"] == head


def test_timm_has_no_place_for_it(extractor, images, tmp_path):
    maps = [(image[:, :, 0] > 100).astype(int) for image in images]
    TransferSegmenter(extractor, "linear", recipe={"epochs": 1}).fit(images, maps).save(
        tmp_path / "model"
    )
    with pytest.raises(ValueError, match="choose 'onnx'"):
        export_model(tmp_path / "model", format="timm")
