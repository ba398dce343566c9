"""Killed anywhere, a run goes on to the same result; what goes wrong is said in one sentence."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.finetune.conftest import classifier, extractor
from transferkit import FineTuneClassifier
from transferkit.training import CHECKPOINT, TrainingStopped, loop
from transferkit.training.checkpoints import read_checkpoint

pytestmark = pytest.mark.finetuning

ROOT = Path(__file__).parents[2]
# Everything that has a state: moments, running mean, batch norm, dropped paths, mixtures.
ALL = {
    "epochs": 3,
    "batch_size": 8,
    "ema": 0.9,
    "freeze_statistics": False,
    "mixup": 0.2,
    "drop_path": 0.1,
    "rand_augment": 5,
    "accumulate": 2,
}


class Killed(Exception):
    """In the place of a signal."""


def weights(folder):
    return load_file(folder / "backbone" / "model.safetensors")


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def kill_after(monkeypatch, n_steps):
    """Make training end after some steps, a checkpoint having been written at each."""
    take = loop.TrainingLoop._take_step
    count = iter(range(10**6))

    def step(self, *arguments):
        if next(count) == n_steps:
            raise Killed
        return take(self, *arguments)

    monkeypatch.setattr(loop.TrainingLoop, "_take_step", step)


@pytest.mark.parametrize(
    ("strategy", "backbone"), [("lp-ft", "dropped paths"), ("last-1-stages", "")]
)
def test_a_killed_run_goes_on_to_the_same_weights(
    strategy, backbone, pictures, tmp_path, monkeypatch
):
    images, labels = pictures
    # Without validation it's the last weights that are compared.
    recipe = {**ALL, "validation_fraction": 0.0} | ({} if backbone else {"drop_path": 0.0})
    name = "test_convnext" if backbone else "test_resnet"

    def fit(folder, **options):
        model = classifier(folder, strategy, backbone=extractor(name), **recipe)
        return model.fit(images, labels, **options)

    whole = fit(tmp_path / "whole")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    for n_steps in (4, 2):  # within the second epoch, and within the one after it
        with monkeypatch.context() as patch:
            kill_after(patch, n_steps)
            with pytest.raises(Killed):
                fit(tmp_path / "killed", resume=n_steps == 2)
    state = read_checkpoint(tmp_path / "killed")[1]
    assert 0 < state["epoch"] < 3
    resumed = fit(tmp_path / "killed", resume=True)
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    np.testing.assert_array_equal(resumed.head_.coef_, whole.head_.coef_)
    for a, b in zip(whole.history_, resumed.history_, strict=True):
        np.testing.assert_equal({**a, "seconds": 0}, {**b, "seconds": 0})
    assert not (tmp_path / "killed" / CHECKPOINT).exists()


SCRIPT = """
import sys
import numpy as np
from tests.finetune.conftest import classifier
from tests.pictures import coloured
images, codes = coloured(10)
labels = np.array(["red", "green", "blue"])[codes]
classifier(sys.argv[1], epochs=200).fit(images, labels)
"""


def test_a_process_killed_by_the_system_leaves_a_whole_checkpoint(pictures, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not (tmp_path / CHECKPOINT).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    tensors, state = read_checkpoint(tmp_path)
    assert state["epoch"] >= 1
    assert all(value.isfinite().all() for value in tensors.values())
    assert len((tmp_path / "log.csv").read_text().splitlines()) >= 2


def test_the_same_seed_the_same_weights(pictures, tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        torch.manual_seed(len(folder.name))
        state = torch.get_rng_state()
        classifier(folder, validation_fraction=0.0).fit(*pictures)
        assert torch.equal(torch.get_rng_state(), state)
    assert_same(*map(weights, folders))
    classifier(tmp_path / "c", seed=1, validation_fraction=0.0).fit(*pictures)
    other = weights(tmp_path / "c")
    assert any(not torch.equal(v, other[n]) for n, v in weights(folders[0]).items())


def test_accumulation_keeps_the_batch(pictures, tmp_path):
    settings = {"freeze_statistics": True, "learning_rate": 1e-3, "optimizer": "sgd"}
    whole = classifier(tmp_path / "a", **settings).fit(*pictures)
    parts = classifier(tmp_path / "b", accumulate=4, **settings).fit(*pictures)
    for a, b in zip(whole.history_[1:], parts.history_[1:], strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)
    np.testing.assert_allclose(whole.head_.coef_, parts.head_.coef_, rtol=1e-3, atol=1e-5)


def test_a_checkpoint_that_is_replaced_is_named(pictures, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        kill_after(patch, 4)
        with pytest.raises(Killed):
            classifier(tmp_path).fit(*pictures)
    classifier(tmp_path).fit(*pictures)
    assert "holds an interrupted run's checkpoint, which is replaced; resume=" in caplog.text


def test_another_runs_checkpoint_is_refused(pictures, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        kill_after(patch, 4)
        with pytest.raises(Killed):
            classifier(tmp_path).fit(*pictures)
    with pytest.raises(ValueError, match="belongs to another run: images, labels, backbone, str"):
        classifier(tmp_path, learning_rate=1e-5).fit(*pictures, resume=True)


def test_nothing_to_go_on_from(pictures, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint to go on from; start without"):
        classifier(tmp_path).fit(*pictures, resume=True)


def test_a_damaged_checkpoint(pictures, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match=r"is damaged .* start again without resume"):
        classifier(tmp_path).fit(*pictures, resume=True)


def test_a_loss_that_is_no_number(pictures, tmp_path):
    settings = {"learning_rate": 1e30, "clip": 0, "warmup": 0.0, "epochs": 30, "optimizer": "sgd"}
    with pytest.raises(TrainingStopped, match=r"the loss is (nan|inf) in step \d+ of epoch \d+: "):
        classifier(tmp_path, **settings).fit(*pictures)


def test_a_full_disk_keeps_the_last_checkpoint(pictures, tmp_path, monkeypatch):
    from transferkit.training import checkpoints

    write = checkpoints.write_whole
    count = iter(range(100))

    def full(path, parts):
        if path.name == CHECKPOINT and next(count) >= 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, parts)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_whole", full)
        message = r"epoch 2 can't be written .*\(No space left on device\); the last good one is "
        with pytest.raises(TrainingStopped, match=message):
            classifier(tmp_path).fit(*pictures)
    assert read_checkpoint(tmp_path)[1]["epoch"] == 1
    resumed = classifier(tmp_path).fit(*pictures, resume=True)
    assert len(resumed.history_) == 3


def test_a_folder_that_cannot_be_written(pictures, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        classifier(tmp_path / "file" / "run").fit(*pictures)


def test_no_better_epoch_ends_training(pictures, tmp_path):
    model = classifier(tmp_path, epochs=50, patience=2, learning_rate=1.0, warmup=0.0)
    model.fit(*pictures)
    assert len(model.history_) - 1 < 50
    assert len(model.history_) - 1 == model.best_epoch_ + 2


def test_the_best_epoch_is_kept(pictures, tmp_path):
    images, labels = pictures
    model = classifier(tmp_path, epochs=4, learning_rate=0.3, clip=0.0)
    model.fit(images, labels, validation=(images[:9], labels[:9]))
    metrics = [(h["val_metric"], -h["val_loss"]) for h in model.history_]
    assert model.best_epoch_ == int(np.argmax([m[0] for m in metrics]))
    assert model.score(images[:9], labels[:9]) == pytest.approx(metrics[model.best_epoch_][0])


def test_a_time_limit_cuts_the_epochs(pictures, tmp_path):
    model = classifier(tmp_path, epochs=10_000, minutes=0.02).fit(*pictures)
    assert 1 <= model.recipe_.epochs < 10_000
    assert len(model.history_) - 1 <= model.recipe_.epochs


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adamv"}, "unknown optimizer 'adamv'; did you mean 'adam"),
        ({"drop_path": 0.1}, "doesn't take the creation argument 'drop_path_rate'"),
    ],
)
def test_what_cannot_be_made(settings, message, pictures, tmp_path):
    name = "densenet121" if "drop_path" in settings else "test_resnet"
    with pytest.raises(ValueError, match=message):
        classifier(tmp_path, backbone=extractor(name), **settings).fit(*pictures)


@pytest.mark.parametrize(
    "settings",
    [
        {"checkpointing": True},
        {"precision": "bf16"},
        {"optimizer": "lion", "layer_decay": 0.5},
        {"cutmix": 1.0, "mixup": 0.2, "erasing": 0.5, "class_weight": "balanced"},
        {"sampling": "balanced", "clip": 0.0, "label_smoothing": 0.0},
    ],
)
def test_recipes(settings, pictures, tmp_path):
    model = classifier(tmp_path, epochs=1, **settings)
    model.fit(*pictures)
    assert np.isfinite(model.history_[-1]["train_loss"])


def test_statistics_are_kept_or_learnt(pictures, tmp_path):
    from transferkit.backbones import build_backbone

    before = build_backbone(extractor().resolve()).network.network.state_dict()
    for freeze in (True, False):
        settings = {"freeze_statistics": freeze, "validation_fraction": 0.0}
        classifier(tmp_path / str(freeze), **settings).fit(*pictures)
        after = weights(tmp_path / str(freeze))
        means = [n for n in before if n.endswith("running_mean")]
        assert all(torch.equal(before[n], after[n]) == freeze for n in means)


def test_curves(pictures, tmp_path):
    model = FineTuneClassifier(
        extractor(), recipe={"epochs": 2}, folder=tmp_path, tensorboard=True
    ).fit(*pictures)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0] == "epoch,seconds,learning_rate,train_loss,val_loss,val_metric"
    assert len(lines) == 4 == len(model.history_) + 1
    assert float(lines[-1].split(",")[3]) == pytest.approx(
        model.history_[-1]["train_loss"], rel=1e-4
    )
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert any((tmp_path / "tensorboard").iterdir())
