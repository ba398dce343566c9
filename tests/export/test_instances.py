"""Instance segmenters as ONNX files, and how their masks become pixels."""

import numpy as np
import pytest

from tests.export.scenes import RECIPE, SIZE, outputs_of, scenes, small_extractor
from transferkit.estimators import TransferInstanceSegmenter
from transferkit.export import export_model
from transferkit.export._instances import DeployedInstances

pytestmark = pytest.mark.engines

IMAGES, TRUTH = scenes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model = TransferInstanceSegmenter(
        small_extractor(),
        recipe=RECIPE,
        neck_options={"width": 16},
        head_options={"width": 16, "mask_width": 16, "mask_depth": 1, "n_proposals": 40},
        suppression={"score": 0.05, "limit": 20},
    )
    return model.fit(IMAGES, TRUTH).save(tmp_path_factory.mktemp("instances") / "model")


def painted(mask, box, size):
    """Pixels of an object, by what the file says of its masks."""
    weights = []
    for start, stop, length in ((box[1], box[3], size[0]), (box[0], box[2], size[1])):
        centres = np.arange(length) + 0.5
        parts = (centres - start) / (stop - start) * len(mask) - 0.5
        near = np.clip(1 - np.abs(parts.clip(0, 27)[:, None] - np.arange(28)), 0, None)
        weights.append(near * ((centres >= start) & (centres < stop))[:, None])
    return weights[0] @ mask @ weights[1].T >= 0.5


def test_the_same_objects(folder, tmp_path):
    model = TransferInstanceSegmenter.load(folder)
    done = export_model(folder, tmp_path / "model.onnx")
    assert (done.check.kind, done.check.n_same) == ("masks", done.check.n)
    assert done.check.difference <= 0.01
    assert "masks" in done.check.same
    meta, outputs = outputs_of(done.path)
    assert meta["task"] == "instances"
    assert meta["outputs"] == DeployedInstances.outputs
    n_objects = 0
    for images in (IMAGES[:1], IMAGES[:5]):
        found, expected = outputs(images), model.predict(images)
        assert found["masks"].shape == (len(images), 20, 28, 28)
        for i, one in enumerate(expected):
            sure = np.flatnonzero(one.scores > 0.2)
            n_objects += len(sure)
            assert not found["masks"][i, found["scores"][i] == 0].any()
            for k in sure:
                own = np.abs(found["boxes"][i] - one.boxes[k]).max(1).argmin()
                assert found["boxes"][i, own] == pytest.approx(one.boxes[k], abs=0.01)
                assert found["scores"][i, own] == pytest.approx(one.scores[k], abs=1e-4)
                pixels = painted(found["masks"][i, own], found["boxes"][i, own], (SIZE, SIZE))
                assert (pixels ^ one.masks[k]).sum() <= 2
    assert n_objects >= 5
