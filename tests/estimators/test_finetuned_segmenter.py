"""`FineTuneSegmenter`, on small pictures of squares whose masks are known."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.estimators.test_segmenter import iou, picture
from transferkit.annotations import FaultyAnnotations
from transferkit.estimators import (
    FeatureExtractor,
    FineTuneSegmenter,
    TransferSegmenter,
    load_estimator,
)
from transferkit.training import TrainingLoop

pytestmark = pytest.mark.finetuning

N = 16


def extractor(**options):
    return FeatureExtractor(
        "test_resnet", pretrained=False, image_size=64, crop_mode="squash", crop_pct=1.0,
        features=["stage1.map", "stage2.map"], **options,
    )  # fmt: skip


def tuner(folder, strategy="lp-ft", **recipe):
    recipe = {"epochs": 2, "learning_rate": 1e-3, "validation_fraction": 0.0, **recipe}
    return FineTuneSegmenter(
        extractor(), strategy, head="linear", recipe=recipe, folder=folder / "run"
    )


@pytest.fixture(scope="module")
def data():
    pictures = [picture(i) for i in range(N)]
    return np.stack([pixels for pixels, _ in pictures]), [classes for _, classes in pictures]


def weights(model):
    """Everything that a model has learnt."""
    from transferkit.backbones import build_backbone

    body = build_backbone(model.extractor_.resolve()).network.state_dict()
    return body | {f"own.{n}": value for n, value in model.network_.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_it_learns_and_is_saved_as_any_segmenter(data, tmp_path):
    model = tuner(tmp_path, epochs=20, learning_rate=0.01).fit(*data)
    found = model.predict([picture(100, (50, 90))[0]])[0]
    assert found.size == (50, 90)
    assert iou(found.map, picture(100, (50, 90))[1]) > 0.6
    model.save(tmp_path / "model")
    again = load_estimator(tmp_path / "model")
    assert type(again) is TransferSegmenter
    assert again.classes_ == model.classes_
    assert again.facts_["recipe"]["strategy"] == "lp-ft"
    assert (tmp_path / "model" / "backbone" / "model.safetensors").is_file()
    a, b = (one.predict(data[0][:3]) for one in (model, again))
    assert all((x.map == y.map).all() for x, y in zip(a, b, strict=True))
    assert FineTuneSegmenter.load(tmp_path / "model").score(*data) == pytest.approx(
        model.score(*data)
    )


def test_the_start_is_the_segmenter_on_stored_maps(data, tmp_path, monkeypatch):
    starts = []
    monkeypatch.setattr(
        "transferkit.estimators.finetuned_segmenter.FineTuneSegmenter._tune",
        lambda self, *rest: starts.append(self.network_.state_dict()),
    )
    tuner(tmp_path, epochs=9, backbone_rate=0.5).fit(*data)
    plain = TransferSegmenter(extractor(), "linear").fit(*data)
    assert same(starts[0], plain.network_.state_dict())


def test_a_part_is_held_out_unless_one_is_given(data, tmp_path):
    model = tuner(tmp_path, validation_fraction=0.25).fit(*data)
    assert len(model.train_ids_) == 12
    assert all("val_metric" in line for line in model.history_)
    model = tuner(tmp_path, validation_fraction=0.25)
    model.fit(data[0][:10], data[1][:10], validation=(data[0][8:], data[1][8:]))
    assert len(model.train_ids_) == 10


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


@pytest.mark.parametrize(("title", "epoch"), [("head", 3), ("fine-tune", 1), ("fine-tune", 2)])
def test_a_resumed_run_is_the_run_that_was_never_interrupted(
    data, tmp_path, monkeypatch, title, epoch
):
    whole = tuner(tmp_path / "whole").fit(*data)
    with monkeypatch.context() as patch:
        kill(patch, title, epoch)
        with pytest.raises(Killed):
            tuner(tmp_path).fit(*data)
    resumed = tuner(tmp_path).fit(*data, resume=True)
    assert same(weights(whole), weights(resumed))
    assert [h["train_loss"] for h in whole.history_[1:]] == [
        h["train_loss"] for h in resumed.history_[1:]
    ]
    assert not list((tmp_path / "run").rglob("checkpoint*"))


def test_killed_between_head_and_network_nothing_is_trained_again(data, tmp_path, monkeypatch):
    whole = tuner(tmp_path / "whole").fit(*data)
    with monkeypatch.context() as patch:
        patch.setattr(FineTuneSegmenter, "_tune", lambda self, *rest: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tuner(tmp_path).fit(*data)
    with monkeypatch.context() as patch:
        kill(patch, "head", 1)  # isn't reached
        resumed = tuner(tmp_path).fit(*data, resume=True)
    assert same(weights(whole), weights(resumed))


def test_another_runs_checkpoint_is_refused(data, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no checkpoint to go on from"):
        tuner(tmp_path).fit(*data, resume=True)
    with monkeypatch.context() as patch:
        kill(patch, "fine-tune", 1)
        with pytest.raises(Killed):
            tuner(tmp_path).fit(*data)
    with pytest.raises(ValueError, match="belongs to another run"):
        tuner(tmp_path, weight_decay=0.1).fit(*data, resume=True)


def test_init_brings_head_and_backbone(data, tmp_path):
    first = TransferSegmenter(extractor(), "fpn", recipe={"epochs": 2}).fit(*data)
    first.save(tmp_path / "first")
    recipe = {"epochs": 1, "learning_rate": 1e-12, "validation_fraction": 0.0}
    model = FineTuneSegmenter(init=tmp_path / "first", recipe=recipe, folder=tmp_path / "run")
    model.fit(*data)
    assert model.network_.arguments == first.network_.arguments
    for name, value in first.network_.state_dict().items():
        torch.testing.assert_close(model.network_.state_dict()[name], value)
    # Of other classes it is the backbone alone that is taken.
    others = [np.where(classes == 1, 2, classes) for classes in data[1]]
    model = FineTuneSegmenter(
        init=tmp_path / "first", head="linear", recipe=recipe, folder=tmp_path / "other"
    ).fit(data[0], others)
    assert len(model.classes_) == 3
    assert model.network_.arguments["head"] == "linear"


def test_init_of_another_architecture_is_refused(data, tmp_path):
    TransferSegmenter(extractor(), "linear", recipe={"epochs": 1}).fit(*data).save(tmp_path / "m")
    other = FeatureExtractor("resnet18", pretrained=False, image_size=64)
    model = FineTuneSegmenter(other, init=tmp_path / "m")
    with pytest.raises(ValueError, match="leave one of them out"):
        model.fit(*data)
    with pytest.raises(ValueError, match="give a backbone, or init"):
        FineTuneSegmenter().fit(*data)


def test_bad_images_and_masks_are_named_or_left_out(data, tmp_path):
    for room in ("images", "masks"):
        (tmp_path / room).mkdir()
    for i in range(8):
        Image.fromarray(data[0][i]).save(tmp_path / "images" / f"{i}.png")
        Image.fromarray(data[1][i].astype(np.uint8)).save(tmp_path / "masks" / f"{i}.png")
    (tmp_path / "images" / "3.png").write_bytes(b"no picture")
    (tmp_path / "masks" / "5.png").unlink()
    with pytest.raises(FaultyAnnotations, match=r"5\.png"):
        tuner(tmp_path, epochs=1).fit(tmp_path / "images")
    model = tuner(tmp_path, epochs=1).fit(tmp_path / "images", on_error="skip")
    assert {failure.name for failure in model.failures_} == {"3.png", "5.png"}
    assert len(model.train_ids_) == 6


def test_what_is_wrong_is_said_before_anything_is_computed(data, tmp_path, builds):
    for changed, words in (
        (tuner(tmp_path, "last-1-stages"), "of several"),
        (tuner(tmp_path, epoch=1), "did you mean"),
    ):
        with pytest.raises(ValueError, match=words):
            changed.fit(*data)
    assert not builds


def test_a_failed_fit_leaves_the_model_as_it_was(data, tmp_path):
    model = tuner(tmp_path, epochs=1).fit(*data)
    before = model.predict(data[0][:2])
    with pytest.raises(ValueError, match="setting"):
        model.set_params(recipe={"epoch": 3}).fit(*data)
    after = model.predict(data[0][:2])
    assert all((x.map == y.map).all() for x, y in zip(before, after, strict=True))
