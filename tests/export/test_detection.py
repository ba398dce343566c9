"""Detectors as ONNX files, suppression of boxes and all."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.export.scenes import RECIPE, outputs_of, scenes, small_extractor
from transferkit.dense.detection import detection_heads
from transferkit.estimators import TransferDetector
from transferkit.export import export_model

pytestmark = pytest.mark.engines

IMAGES = scenes()[0]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A detector of each head, trained until it finds the squares, as folders."""
    folder = tmp_path_factory.mktemp("models")
    for head in detection_heads():
        options = {"width": 16}
        model = TransferDetector(
            small_extractor(),
            head,
            recipe=RECIPE,
            neck_options={"width": 16},
            head_options=options,
            suppression={"score": 0.05},
        )
        model.fit(*scenes()).save(folder / head)
    return folder


@pytest.mark.parametrize("head", detection_heads())
def test_the_same_boxes(models, tmp_path, head):
    model = TransferDetector.load(models / head)
    done = export_model(models / head, tmp_path / "model.onnx")
    assert done.check.kind == "boxes"
    assert done.check.difference <= 0.01
    assert done.check.n_same == done.check.n
    meta, outputs = outputs_of(done.path)
    limit = model.suppression_.limit
    assert meta["task"] == "detection"
    assert meta["names"] == list(model.classes_)
    assert meta["threshold"] == model.threshold_
    assert meta["suppression"]["limit"] == limit
    for images in (IMAGES[:1], IMAGES[:5]):
        found, expected = outputs(images), model.predict(images)
        assert found["boxes"].shape == (len(images), limit, 4)
        assert found["labels"].dtype == np.int64
        for i, one in enumerate(expected):
            n = len(one.boxes)
            assert n > 0
            assert found["scores"][i, :n] == pytest.approx(one.scores, abs=1e-4)
            assert not found["scores"][i, n:].any()
            assert not found["boxes"][i, n:].any()
            assert not found["labels"][i, n:].any()
            # Boxes of nearly the same score may change places.
            sure = one.scores > 0.3
            assert found["boxes"][i, :n][sure] == pytest.approx(one.boxes[sure], abs=0.01)
            assert (found["labels"][i, :n][sure] == one.labels[sure]).all()


def test_untrained(models, tmp_path):
    """Hundreds of boxes, each with neighbours that say nearly the same, of whatever class."""
    model = TransferDetector.load(models / "faster-rcnn")
    torch.manual_seed(0)
    for parameter in model.network_.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    rule = dataclasses.replace(model.suppression_, is_class_agnostic=True, score=0.01, limit=30)
    model.suppression_ = rule
    model.save(tmp_path / "model")
    done = export_model(tmp_path / "model")
    assert done.check.difference <= 0.01
    assert done.check.n_same >= done.check.n - 1
    found = outputs_of(done.path)[1](IMAGES[:4])
    expected = model.predict(IMAGES[:4])
    counts = (found["scores"] > 0).sum(1).tolist()
    assert counts == [len(one.boxes) for one in expected]
    assert max(counts) > 10


def test_soft_suppression_is_refused(models, tmp_path):
    model = TransferDetector.load(models / detection_heads()[0])
    model.suppression_ = dataclasses.replace(model.suppression_, method="soft")
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"suppression 'soft' .* method='classic'"):
        export_model(tmp_path / "model")


def test_a_file_takes_a_tile_and_says_so(models, tmp_path):
    model = TransferDetector.load(models / "fcos")
    model.tiles = "2x2"
    done = export_model(model.save(tmp_path / "model"))
    assert done.check.difference <= 0.01
    assert outputs_of(done.path)[0]["tiles"] == "2x2,overlap=0.2"
