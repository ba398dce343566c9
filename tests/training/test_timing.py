import logging
import math
import re
import time

import pytest

from tests.finetune.conftest import small_training
from transferkit.finetune.training_loop import describe_shortage
from transferkit.training import Shortage, loop
from transferkit.training.checkpoints import save_run

pytestmark = pytest.mark.finetuning


class Stopped(Exception):
    """In the place of a signal."""


def timed(folder, monkeypatch, seconds, image_seconds=1.0, held=0, **settings):
    """A run of ten steps an epoch, whose images take a second each and which has some left."""
    monkeypatch.setattr(loop.Curves, "finish", lambda self, **options: None)
    monkeypatch.setattr(loop.TrainingLoop, "_sample_seconds", lambda self: image_seconds)
    deadline = time.monotonic() + seconds
    return small_training(
        folder, 40, held, strategy="lp-ft", deadline=deadline, batch_size=4, minutes=2.0, **settings
    )


@pytest.mark.parametrize(
    ("seconds", "held", "n_epochs"),
    [
        (1000, 0, 7),  # 40 s each, and 23 of them would fit
        (175, 0, 4),  # 0.95 · 175 / 40 = 4.2
        (175, 6, 3),  # each takes 2 s more, and the start too: 164.2 / 42 = 3.9
    ],
)
def test_epochs_that_fit(seconds, held, n_epochs, tmp_path, monkeypatch):
    training = timed(tmp_path, monkeypatch, seconds, held=held, epochs=7)
    training.fit()
    assert training.state.epochs == n_epochs == len(training.state.history) - 1
    assert training.state.most_steps is None


def test_less_than_an_epoch(tmp_path, monkeypatch, caplog):
    training = timed(tmp_path, monkeypatch, 21, epochs=7)
    steps = []
    take = loop.TrainingLoop._take_step

    def step(self, *arguments):
        steps.append(self.learner.optimizer.param_groups[-1]["lr"])
        return take(self, *arguments)

    monkeypatch.setattr(loop.TrainingLoop, "_take_step", step)
    training.fit()
    # 0.95 · 21 / 40 of ten steps; the cosine ends with them.
    cosine = [0.05 * (1 + math.cos(math.pi * i / 4)) for i in range(4)]
    assert steps == pytest.approx(cosine)
    assert len(training.state.history) == 2
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert re.fullmatch(
        r"2 minutes allow about 0\.5 epochs of lp-ft on 40 images \(an epoch takes about 40 s\), "
        r"of which little can be expected; give 3\.8 minutes or more \(three epochs\), or a "
        r"smaller image size, or strategy 'last-1-stages' with views=0, whose maps take about "
        r"13 s once, and whose epochs a fraction of that",
        record.getMessage(),
    )


def test_no_time_at_all_is_one_step(tmp_path, monkeypatch, caplog):
    training = timed(tmp_path, monkeypatch, -5)
    training.fit()
    assert training.state.most_steps == 1
    assert "allow about 0.0 epochs" in caplog.text


def test_a_part_of_an_epoch_goes_on_as_one(tmp_path, monkeypatch):
    killed = timed(tmp_path, monkeypatch, 21)
    with monkeypatch.context() as patch:

        def stop(*arguments):
            save_run(*arguments)
            raise Stopped

        patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(loop, "save_run", stop)
        with pytest.raises(Stopped):
            killed.fit()
    resumed = timed(tmp_path, monkeypatch, 1e6)
    resumed.fit(resume=True)
    assert resumed.state.most_steps == 4
    assert len(resumed.state.history) == 2


def test_epochs_that_were_cut_stay_so(tmp_path, monkeypatch):
    killed = timed(tmp_path, monkeypatch, 175, epochs=7)
    with monkeypatch.context() as patch:

        def stop(*arguments):
            save_run(*arguments)
            raise Stopped

        patch.setattr(loop, "save_run", stop)
        with pytest.raises(Stopped):
            killed.fit()
    resumed = timed(tmp_path, monkeypatch, 1e6, epochs=7)
    resumed.fit(resume=True)
    assert resumed.state.epochs == 4 == len(resumed.state.history) - 1


def test_timed_steps_have_no_effect(tmp_path, monkeypatch):
    monkeypatch.setattr(loop.Curves, "finish", lambda self, **options: None)
    rows = []
    for seconds in (math.inf, 1e6):
        training = small_training(
            tmp_path, 8, 4, batch_size=4, epochs=2, mixup=0.5, ema=0.5, freeze_statistics=False
        )
        training.deadline = time.monotonic() + seconds
        training.fit()
        rows.append(training)
    assert rows[0].state.best_epoch == rows[1].state.best_epoch
    for name, value in rows[0].state.best.items():
        assert (value == rows[1].state.best[name]).all(), name


def test_the_time_is_up_after_an_epoch(tmp_path, monkeypatch):
    training = timed(tmp_path, monkeypatch, 1e6, epochs=5)
    finish = loop.TrainingLoop._finish_epoch

    def late(self, bar):
        finish(self, bar)
        if self.state.epoch == 2:
            self.deadline = time.monotonic() - 1

    monkeypatch.setattr(loop.TrainingLoop, "_finish_epoch", late)
    training.fit()
    assert len(training.state.history) - 1 == 2 == training.state.best_epoch


def test_cached_stages_are_no_advice_to_themselves():
    shortage = Shortage(0.4, 2016, 444.0, 170.0)
    text = describe_shortage(shortage, strategy="last-1-stages", minutes=3.0)
    assert text.endswith(
        "3 minutes allow about 0.4 epochs of last-1-stages on 2,016 images (an epoch takes about "
        "7.4 minutes), of which little can be expected; give 23.5 minutes or more (three epochs), "
        "or a smaller image size"
    )


def test_a_loop_that_knows_no_strategy_says_it_in_short():
    assert str(Shortage(0.4, 2016, 444.0, 170.0)) == (
        "2.8 minutes allow about 0.4 epochs on 2,016 samples (an epoch takes about 7.4 minutes), "
        "of which little can be expected; give 23.4 minutes or more"
    )
