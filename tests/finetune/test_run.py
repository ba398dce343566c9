"""What a run is made of before its first step: head, samples, time; and its signature."""

import dataclasses
import math
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.finetune.conftest import classifier
from transferkit.datasets import Dataset
from transferkit.finetune import parse_strategy
from transferkit.finetune import run as module
from transferkit.finetune.recipe import Recipe
from transferkit.heads import create_head
from transferkit.images import ImageSet
from transferkit.training import Processes
from transferkit.training.checkpoints import RunState

pytestmark = pytest.mark.finetuning


@pytest.fixture
def begun(pictures, tmp_path, monkeypatch):
    """Call that makes a run up to its first step, and gives what was to be trained."""
    seen = {}

    class Untrained:
        def __init__(self, network, objective, recipe, train, held, *_, **options):
            seen.update(options, network=network, objective=objective, train=train, held=held)
            self.state = RunState(recipe.epochs)
            self.state.history = [{"val_metric": 1.0}, {"val_metric": 0.5}]

        def fit(self, *, resume):
            seen["began"] = time.monotonic()

    def begin(strategy="lp-ft", spoilt=False, **settings):
        splitting = module.split

        def split(*arguments):
            train, held = splitting(*arguments)
            if spoilt:
                held = dataclasses.replace(held, y=(held.y + 1) % 3)
            seen["parts"] = train, held
            return train, held

        monkeypatch.setattr(module, "split", split)
        monkeypatch.setattr(module, "create_training_loop", Untrained)
        classifier(tmp_path, strategy, validation_fraction=0.3, **settings).fit(*pictures)
        return SimpleNamespace(**seen)

    return begin


def test_the_time_is_counted_from_the_beginning(begun):
    assert begun().deadline == math.inf
    run = begun(minutes=5)
    assert 290 < run.deadline - run.began < 300


def test_the_head_is_the_probe_of_the_training_part_scaled_on_the_other(begun):
    # Held-out labels are wrong, so the surer the probe the larger its loss.
    run = begun(spoilt=True)
    train, held = run.parts
    probe = create_head("linear").fit(train.X, train.y)
    weight, bias = run.network.head.weight.detach(), run.network.head.bias.detach()
    share = float(weight.norm()) / np.linalg.norm(probe.coef_)
    np.testing.assert_allclose(weight, share * probe.coef_, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(bias, share * probe.intercept_, rtol=1e-3, atol=1e-6)
    scores = torch.from_numpy(held.X) @ weight.T + bias
    losses = [run.objective.plain_loss(s * scores, torch.from_numpy(held.y)) for s in (0.1, 1, 10)]
    assert losses[1] < min(losses) + 1e-3
    of_probe = torch.from_numpy(held.X @ probe.coef_.T + probe.intercept_)
    assert losses[1] < run.objective.plain_loss(of_probe, torch.from_numpy(held.y)) - 0.1
    assert run.keeps_start


def test_a_fresh_head_hangs_on_the_seed_and_is_not_kept(begun):
    rows = [begun("full", seed=seed) for seed in (1, 1, 2)]
    heads = [run.network.head.weight.detach() for run in rows]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert float(heads[0].std()) == pytest.approx(0.01, rel=0.3)
    assert not rows[0].keeps_start


@pytest.mark.parametrize("n_views", [0, 2])
def test_the_training_part_alone_has_views(n_views, begun):
    run = begun("last-1-stages", views=n_views)
    views = [np.asarray(view) for view in run.train.inputs.views]
    assert len(views) == 1 + n_views
    assert len(run.held.inputs.views) == 1
    assert len({view.tobytes() for view in views}) == 1 + n_views
    if n_views:  # no two images are changed in the same way: seeds are the images' own
        changes = np.abs(np.subtract(views[1], views[0], dtype=np.float32)).mean((1, 2, 3))
        assert len(set(changes.tolist())) == len(changes)


def test_a_signature_holds_what_decides_the_result(begun):
    run = begun()
    spec = classifier()._tuned_extractor().resolve()
    images = ImageSet((0, 1), ("a", "b"))
    train = Dataset(images, (b"a" * 16, b"b" * 16), np.zeros((2, 2), np.float32), np.array([0, 1]))
    recipe = Recipe(epochs=1, batch_size=2)
    processes = Processes(torch.device("cpu"))

    def signature(strategy="lp-ft", recipe=recipe, task="classification", held=None, **changed):
        whole = module.FineTuneRun(
            spec, parse_strategy(strategy), recipe, task, np.array([0, 1]), None, processes, Path()
        )
        return whole.signature(dataclasses.replace(train, **changed), held)

    different = [
        signature(),
        signature("full"),
        signature(recipe=dataclasses.replace(recipe, seed=1)),
        signature(task="multilabel"),
        signature(held=train),
        signature(y=np.array([1, 0])),
        signature(ids=(b"a" * 16, b"c" * 16)),
    ]
    assert len(set(different)) == len(different)
    assert signature() == different[0] != run.signature
