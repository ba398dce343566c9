"""`FineTuneDetector`, on small pictures of squares whose boxes are known."""

import json

import numpy as np
import pytest
import torch

from tests.estimators.test_detector import annotated, overlap, picture
from tests.launched import run_in_two
from transferkit.dense.recipe import DetectionRecipe
from transferkit.estimators import (
    FeatureExtractor,
    FineTuneDetector,
    TransferDetector,
    load_estimator,
)
from transferkit.training import TrainingLoop

pytestmark = pytest.mark.finetuning

N = 12
SMALL = {"neck_options": {"width": 16}, "head_options": {"width": 16}}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Few images are trained on in few epochs of the head here."""
    monkeypatch.setattr(DetectionRecipe, "trained_on", 100)


def extractor(**options):
    return FeatureExtractor(
        "test_resnet", pretrained=False, image_size=64, crop_mode="squash", crop_pct=1.0,
        features=["stage1.map", "stage2.map"], **options,
    )  # fmt: skip


def tuner(folder, strategy="lp-ft", head="fcos", **recipe):
    recipe = {
        "epochs": 2, "learning_rate": 1e-3, "validation_fraction": 0.0, "zoomed": False, **recipe,
    }  # fmt: skip
    return FineTuneDetector(
        extractor(), strategy, head=head, recipe=recipe, folder=folder / "run", **SMALL
    )  # fmt: skip


def pictures(n=N, first=0):
    found = [picture(first + i) for i in range(n)]
    return np.stack([pixels for pixels, _ in found]), annotated([truth for _, truth in found])


@pytest.fixture(scope="module")
def data():
    return pictures()


def weights(model):
    """Everything that a model has learnt."""
    from transferkit.backbones import build_backbone

    body = build_backbone(model.extractor_.resolve()).network.state_dict()
    return body | {f"own.{n}": value for n, value in model.network_.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_it_learns_and_is_saved_as_any_detector(data, tmp_path):
    model = tuner(tmp_path, head="faster-rcnn", epochs=12, learning_rate=5e-3, ema=0.0).fit(*data)
    pixels, true = picture(100, (50, 90))
    found = model.predict([pixels])[0]
    assert found.size == (50, 90)
    assert overlap(found.boxes[0], true.boxes[0]) > 0.5
    model.save(tmp_path / "model")
    again = load_estimator(tmp_path / "model")
    assert type(again) is TransferDetector
    assert again.facts_["recipe"]["strategy"] == "lp-ft"
    assert (again.threshold_, again.suppression_) == (model.threshold_, model.suppression_)
    assert (tmp_path / "model" / "backbone" / "model.safetensors").is_file()
    a, b = (one.predict(data[0][:3]) for one in (model, again))
    assert all(np.array_equal(x.boxes, y.boxes) for x, y in zip(a, b, strict=True))
    assert FineTuneDetector.load(tmp_path / "model").score(*data) == pytest.approx(
        model.score(*data)
    )


def test_the_start_is_the_detector_on_stored_maps(data, tmp_path, monkeypatch):
    starts = []
    monkeypatch.setattr(
        FineTuneDetector,
        "_tune",
        lambda self, *rest: starts.append(self.network_.state_dict()),
    )
    tuner(tmp_path, epochs=9, mosaic=0.5, seed=3).fit(*data)
    plain = TransferDetector(extractor(), "fcos", recipe={"zoomed": False, "seed": 3}, **SMALL).fit(
        *data
    )
    assert same(starts[0], plain.network_.state_dict())


def test_images_that_choose_the_epoch_choose_the_threshold(data, tmp_path):
    model = tuner(tmp_path, "full").fit(*data, validation=pictures(6, 50))
    lines = [line["val_metric"] for line in model.history_]
    assert len(lines) == 3
    assert 0 < model.threshold_ < 1
    held = pictures(6, 50)
    report = model.measure(*held).to_dict()
    # The boxes of the input's px are those of the images here.
    assert report["average_precision"] == pytest.approx(lines[model.best_epoch_], abs=0.02)
    assert model.threshold_ == pytest.approx(report["best"]["threshold"], abs=0.01)


class Killed(Exception):
    pass


def kill(monkeypatch, title, epoch):
    """End the training that is called so, after an epoch whose checkpoint is written."""
    finish = TrainingLoop._finish_epoch

    def finished(self, bar):
        finish(self, bar)
        if (self.title, self.state.epoch) == (title, epoch):
            raise Killed

    monkeypatch.setattr(TrainingLoop, "_finish_epoch", finished)


@pytest.mark.parametrize(
    ("strategy", "title", "epoch"),
    [("lp-ft", "head", 3), ("lp-ft", "fine-tune", 1), ("full", "fine-tune", 1)],
)
def test_a_resumed_run_is_the_run_that_was_never_interrupted(
    data, tmp_path, monkeypatch, strategy, title, epoch
):
    whole = tuner(tmp_path / "whole", strategy, mosaic=0.3).fit(*data)
    with monkeypatch.context() as patch:
        kill(patch, title, epoch)
        with pytest.raises(Killed):
            tuner(tmp_path, strategy, mosaic=0.3).fit(*data)
    resumed = tuner(tmp_path, strategy, mosaic=0.3).fit(*data, resume=True)
    assert same(weights(whole), weights(resumed))
    assert not list((tmp_path / "run").rglob("checkpoint*"))


def test_init_brings_head_backbone_and_suppression(data, tmp_path):
    first = TransferDetector(
        extractor(), "retinanet", suppression={"method": "soft"},
        recipe={"epochs": 1, "zoomed": False}, **SMALL,
    ).fit(*data)  # fmt: skip
    first.save(tmp_path / "first")
    recipe = {"epochs": 1, "learning_rate": 1e-12, "validation_fraction": 0.0}
    model = FineTuneDetector(init=tmp_path / "first", recipe=recipe, folder=tmp_path / "run")
    model.fit(*data)
    assert model.network_.arguments == first.network_.arguments
    assert model.suppression_ == first.suppression_
    for name, value in first.network_.state_dict().items():
        torch.testing.assert_close(model.network_.state_dict()[name], value)


def test_init_on_tiles_is_refused(data, tmp_path):
    first = TransferDetector(
        extractor(), "fcos", tiles=(48, 48), recipe={"epochs": 1, "zoomed": False}, **SMALL
    ).fit(*data)
    first.save(tmp_path / "first")
    with pytest.raises(ValueError, match="was trained on tiles"):
        FineTuneDetector(init=tmp_path / "first", folder=tmp_path / "run").fit(*data)


def test_a_setting_of_segmentation_is_refused(data, tmp_path):
    with pytest.raises(ValueError, match="setting of the recipe"):
        tuner(tmp_path, label_smoothing=0.1).fit(*data)
    with pytest.raises(ValueError, match=r"zoom_in is 0\.5; give a number from 1"):
        tuner(tmp_path, zoom_in=0.5).fit(*data)


SCRIPT = """
import json, os, sys
from pathlib import Path
from tests.estimators.test_finetuned_detector import pictures, tuner
model = tuner(Path(sys.argv[1]), "full", mosaic=0.3)
model.fit(*pictures(), validation=pictures(4, 50))
if int(os.environ["RANK"]) == 0:
    print(json.dumps([[h["train_loss"], h["val_metric"]] for h in model.history_[1:]]))
"""


def test_two_processes_compute_what_one_does(data, tmp_path):
    outputs = run_in_two("-c", SCRIPT, tmp_path / "two")
    two = np.array(json.loads(outputs[0][0]))
    # A loss is a mean over the objects of a part: the parts are the same ones in both runs.
    model = tuner(tmp_path, "full", mosaic=0.3, accumulate=2)
    model.fit(*data, validation=pictures(4, 50))
    one = np.array([[h["train_loss"], h["val_metric"]] for h in model.history_[1:]])
    np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6)
