"""Detectors of oriented boxes as ONNX files, suppression and all."""

import numpy as np
import pytest

from tests.export.scenes import RECIPE, outputs_of, scenes, small_extractor
from transferkit.dense.oriented import oriented_heads
from transferkit.estimators import TransferOrientedDetector
from transferkit.export import export_model
from transferkit.export._oriented import corners_apart
from transferkit.metrics import oriented_overlaps

pytestmark = pytest.mark.engines

IMAGES, TRUTH = scenes()


@pytest.mark.parametrize("head", oriented_heads())
def test_the_same_boxes(tmp_path, head):
    model = TransferOrientedDetector(
        small_extractor(),
        head,
        recipe={**RECIPE, "turned": False},
        neck_options={"width": 16},
        head_options={"width": 16},
        suppression={"score": 0.05, "limit": 20},
    )
    folder = model.fit(IMAGES, TRUTH).save(tmp_path / "model")
    done = export_model(folder, tmp_path / "model.onnx")
    assert (done.check.kind, done.check.n_same) == ("oriented boxes", done.check.n)
    assert done.check.difference <= 0.01
    meta, outputs = outputs_of(done.path)
    assert meta["task"] == "oriented"
    assert meta["threshold"] == model.threshold_
    n_boxes = 0
    for images in (IMAGES[:1], IMAGES[:5]):
        found, expected = outputs(images), model.predict(images)
        assert found["boxes"].shape == (len(images), 20, 5)
        for boxes, scores, one in zip(found["boxes"], found["scores"], expected, strict=True):
            assert ((boxes[:, 4] >= -90) & (boxes[:, 4] < 90)).all()
            assert not boxes[scores == 0].any()
            sure = one.oriented[one.scores > 0.3]
            n_boxes += len(sure)
            assert (oriented_overlaps(sure, boxes).max(1, initial=0) > 0.99).all()
    assert n_boxes >= 6


def test_corners_are_compared_and_not_angles():
    boxes = np.array([[20, 20, 10, 10, 0], [20, 20, 10, 4, -90]])
    others = np.array([[20, 20, 10, 10, -90], [20, 20, 10, 4, 89.999], [20.5, 20, 10, 10, 0]])
    apart = corners_apart(boxes, others)
    assert apart[0, 0] < 1e-6
    assert apart[1, 1] < 1e-3
    assert apart[0, 2] == pytest.approx(0.5)
    assert apart[0, 1] > 2
