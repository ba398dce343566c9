"""Steps of training, each against a calculation by hand: every setting does what it says."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.finetune.conftest import Rows, small_training
from transferkit.finetune.image_head import ImageHead
from transferkit.finetune.samples import LabelledSamples
from transferkit.training import loop
from transferkit.training.checkpoints import save_run

pytestmark = pytest.mark.finetuning


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Without pictures of the curves, which take longer than these runs."""
    monkeypatch.setattr(loop.Curves, "finish", lambda self, **options: None)


def weights_of(network):
    """All parameters of a network in one row."""
    with torch.no_grad():
        return torch.cat([p.flatten() for p in network.parameters()]).clone()


def gradient_of(network, images, targets, **options):
    """Gradient of the mean loss of some images, of a copy that has known no training."""
    network = copy.deepcopy(network)
    functional.cross_entropy(network(images), targets, **options).backward()
    return torch.cat([p.grad.flatten() for p in network.parameters()])


def kept_weights(training):
    """Weights that a run keeps, in one row."""
    names = [name for name, _ in training.network.named_parameters()]
    return torch.cat([training.state.best[name].flatten() for name in names])


def steps_seen(training, monkeypatch):
    """List that gets the network's weights after each step."""
    seen, take = [], loop.TrainingLoop._take_step

    def step(self, *arguments):
        loss = take(self, *arguments)
        seen.append(weights_of(self.network))
        return loss

    monkeypatch.setattr(loop.TrainingLoop, "_take_step", step)
    return seen


@pytest.mark.parametrize("clip", [0.0, 0.01, 1e3])
def test_a_step_along_the_clipped_gradient(clip, tmp_path):
    training = small_training(tmp_path, clip=clip, learning_rate=0.5)
    before = weights_of(training.network)
    gradient = gradient_of(training.network.eval(), training.train.inputs.inputs,
                           training.train.targets)  # fmt: skip
    norm = float(gradient.norm())
    assert 0.02 < norm < 1e3
    share = min(1, clip / norm) if clip else 1
    training.fit()
    step = kept_weights(training) - before
    assert float(step.norm()) == pytest.approx(0.5 * norm * share, rel=1e-3)
    torch.testing.assert_close(step, -0.5 * share * gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"class_weight": {"a": 1, "b": 5}}])
def test_a_batch_in_parts_is_the_batch(settings, tmp_path):
    rows = []
    for accumulate in (1, 4, 8):
        training = small_training(tmp_path, accumulate=accumulate, **settings)
        training.fit()
        rows.append(kept_weights(training))
        assert training.state.history[-1]["train_loss"] > 0
    for row in rows[1:]:
        torch.testing.assert_close(row, rows[0], rtol=1e-5, atol=1e-6)


def test_class_weights_weigh_the_gradient(tmp_path):
    training = small_training(tmp_path, class_weight={"b": 5}, accumulate=2)
    before = weights_of(training.network)
    images, targets = training.train.inputs.inputs, training.train.targets
    # As PyTorch weighs a batch: by the sum of its weights; of either class there are four.
    gradient = gradient_of(training.network.eval(), images, targets, weight=torch.tensor([1.0, 5]))
    training.fit()
    torch.testing.assert_close(kept_weights(training) - before, -0.1 * gradient, rtol=1e-3,
                               atol=1e-6)  # fmt: skip


def test_label_smoothing_is_in_the_gradient(tmp_path):
    training = small_training(tmp_path, label_smoothing=0.3)
    before = weights_of(training.network)
    images, targets = training.train.inputs.inputs, training.train.targets
    gradient = gradient_of(training.network.eval(), images, targets, label_smoothing=0.3)
    training.fit()
    torch.testing.assert_close(kept_weights(training) - before, -0.1 * gradient, rtol=1e-3,
                               atol=1e-6)  # fmt: skip


def mixed_batches(training, monkeypatch):
    """What the network and the loss are given in training: pixels and targets of every batch."""
    seen, pixels = [], []
    training.network.register_forward_pre_hook(lambda _, inputs: pixels.append(inputs[0].clone()))
    plain = ImageHead.loss

    def loss(self, outputs, targets):
        if outputs.requires_grad:
            seen.append((pixels[-1], targets.clone()))
        return plain(self, outputs, targets)

    monkeypatch.setattr(ImageHead, "loss", loss)
    return seen


def test_mixup_mixes_images_and_targets_in_one_share(tmp_path, monkeypatch):
    # One dark image of the first class, one light one of the second.
    pair = LabelledSamples(
        Rows(torch.stack([torch.full((3, 2, 2), v, dtype=torch.uint8) for v in (0, 200)])),
        torch.tensor([0, 1]),
    )
    training = small_training(tmp_path, 2, train=pair, mixup=1.0, epochs=20)
    seen = mixed_batches(training, monkeypatch)
    training.fit()
    assert len(seen) == 20
    shares = []
    for images, targets in seen:
        torch.testing.assert_close(targets.sum(1), torch.ones(2))
        torch.testing.assert_close(images.mean((1, 2, 3)) / 200, targets[:, 1])
        assert float(images[0].std()) < 1e-3  # the whole image, not a part of it
        shares.append(float(targets[0, 1]))
    assert len(set(shares)) == 20
    assert 0.1 < np.std(shares) < 0.5  # of a flat distribution 0.29


def test_cutmix_puts_a_part_of_one_image_into_another(tmp_path, monkeypatch):
    pair = LabelledSamples(
        Rows(torch.stack([torch.full((3, 8, 8), v, dtype=torch.uint8) for v in (0, 200)])),
        torch.tensor([0, 1]),
    )
    training = small_training(tmp_path, 2, train=pair, cutmix=1.0, epochs=20)
    training.network.body.network[0] = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()
    )
    seen = mixed_batches(training, monkeypatch)
    training.fit()
    for images, targets in seen:
        assert set(images.unique().tolist()) <= {0, 200}
        torch.testing.assert_close(images.mean((1, 2, 3)) / 200, targets[:, 1])
    assert len({float(targets[0, 1]) for _, targets in seen}) > 5


def test_without_mixing_images_and_targets_are_what_they_are(tmp_path, monkeypatch):
    training = small_training(tmp_path, 4)
    seen = mixed_batches(training, monkeypatch)
    training.fit()
    ((images, targets),) = seen
    order = training.batches.order(0)[0]
    assert torch.equal(images, training.train.inputs.inputs[order])
    assert torch.equal(targets, training.train.targets[order])


def test_the_running_mean_is_measured_and_kept(tmp_path, monkeypatch):
    training = small_training(tmp_path, 40, 6, batch_size=4, epochs=1, ema=0.6)
    seen = steps_seen(training, monkeypatch)
    training.fit()
    # timm's warm-up of the decay, written out: the first two steps' weights are taken whole.
    mean = seen[0]
    for step, row in enumerate(seen):
        decay = 0 if step < 2 else min(0.6, 1 - step ** (-2 / 3))
        mean = decay * mean + (1 - decay) * row
    assert len(seen) == 10
    assert float((mean - seen[-1]).norm()) > 1e-3  # not the last step's weights
    torch.testing.assert_close(weights_of(training.learner.ema.module), mean, rtol=1e-4, atol=1e-6)
    kept = mean if training.state.best_epoch else None
    assert kept is not None, "the start was kept: choose other images"
    torch.testing.assert_close(kept_weights(training), mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(weights_of(training.network), mean, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        outputs = training.network.eval()(training.held.inputs.inputs)
    loss = float(functional.cross_entropy(outputs, training.held.targets))
    assert training.state.history[-1]["val_loss"] == pytest.approx(loss, rel=1e-4)


def test_the_rate_of_each_step(tmp_path, monkeypatch):
    training = small_training(tmp_path, 8, batch_size=2, epochs=5, learning_rate=0.01, warmup=0.2)
    seen, take = [], loop.TrainingLoop._take_step

    def step(self, *arguments):
        seen.append(self.learner.optimizer.param_groups[-1]["lr"])
        return take(self, *arguments)

    monkeypatch.setattr(loop.TrainingLoop, "_take_step", step)
    training.fit()
    # Twenty steps: four of warm-up, then half a cosine that would be 0 at the 21st.
    falling = [0.5 * (1 + math.cos(math.pi * i / 16)) for i in range(16)]
    assert np.multiply(seen, 100) == pytest.approx([0.25, 0.5, 0.75, 1.0, *falling])


def test_every_step_has_other_images_in_the_epochs_order(tmp_path, monkeypatch):
    training = small_training(tmp_path, 8, batch_size=2, epochs=2, seed=3)
    seen = mixed_batches(training, monkeypatch)
    training.fit()
    order = np.concatenate([training.batches.order(epoch) for epoch in (0, 1)])
    assert len(seen) == len(order) == 8
    for (images, targets), row in zip(seen, order, strict=True):
        assert torch.equal(images, training.train.inputs.inputs[row])
        assert torch.equal(targets, training.train.targets[row])


def test_the_loss_of_an_epoch_is_the_mean_of_its_steps(tmp_path, monkeypatch):
    training = small_training(tmp_path, 8, batch_size=2, epochs=3, accumulate=2)
    losses, plain = [], ImageHead.loss

    def loss(self, outputs, targets):
        found = plain(self, outputs, targets)
        losses.append(float(found.detach()))
        return found

    monkeypatch.setattr(ImageHead, "loss", loss)
    training.fit()
    means = np.reshape(losses, (3, 8)).mean(1)
    assert math.isnan(training.state.history[0]["train_loss"])
    assert [h["train_loss"] for h in training.state.history[1:]] == pytest.approx(means, rel=1e-5)
    assert [h["epoch"] for h in training.state.history] == [0, 1, 2, 3]


class Asked(Rows):
    """Inputs that note under which seed they are asked for."""

    def __getitem__(self, key):
        self.keys = [*getattr(self, "keys", []), key]
        return super().__getitem__(key)


def test_every_image_has_another_seed_in_every_epoch(tmp_path):
    images, held = (Asked(torch.zeros(n, 3, 2, 2, dtype=torch.uint8)) for n in (8, 4))
    parts = [LabelledSamples(part, torch.arange(len(part)) % 2) for part in (images, held)]
    settings = {"batch_size": 4, "epochs": 3, "accumulate": 2}
    small_training(tmp_path, 8, parts[1], train=parts[0], **settings).fit()
    seeds = [seed for _, seed in images.keys]
    assert len(seeds) == 24 == len(set(seeds))
    assert min(seeds) >= 0
    assert held.keys == [(i, -1) for i in range(4)] * 4  # as prediction sees them


def test_what_is_drawn_in_a_step_is_the_steps_own(tmp_path, monkeypatch):
    drawn, plain = [], loop.TrainingLoop._backward

    def backward(self, batch):
        drawn.append(torch.initial_seed())
        return plain(self, batch)

    monkeypatch.setattr(loop.TrainingLoop, "_backward", backward)
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        small_training(tmp_path, 8, batch_size=4, epochs=2, accumulate=2).fit()
        assert torch.equal(torch.get_rng_state(), state)
    assert len(set(drawn)) == 8 == len(drawn) / 2
    assert drawn[:8] == drawn[8:]


def scripted(training, monkeypatch, lines):
    """Let the held-out part be measured as these (metric, loss), epoch by epoch."""
    metrics, losses = (iter(column) for column in zip(*lines, strict=True))
    kind = type(training.objective)
    monkeypatch.setattr(kind, "metric", lambda *_: next(metrics))
    monkeypatch.setattr(kind, "plain_loss", lambda *_: next(losses))


@pytest.mark.parametrize(
    ("lines", "patience", "best", "n_epochs"),
    [
        # The metric decides, and of equals the smaller loss; of equal both the earlier one.
        ([(0.5, 1.0), (0.6, 2.0), (0.6, 1.5), (0.6, 1.5), (0.5, 0.1)], 0, 2, 4),
        ([(0.5, 1.0), (0.5, 1.0), (0.4, 0.5), (0.5, 2.0), (0.1, 9.0)], 0, 0, 4),
        # Patience counts from the best epoch.
        ([(0.5, 1.0), (0.4, 1.0), (0.4, 1.0), (0.9, 1.0), (0.9, 1.0)], 2, 0, 2),
        ([(0.5, 1.0), (0.4, 1.0), (0.6, 1.0), (0.4, 1.0), (0.4, 1.0)], 2, 2, 4),
        ([(0.5, 1.0), (0.6, 1.0), (0.4, 1.0), (0.4, 1.0), (0.4, 1.0)], 3, 1, 4),
    ],
)
def test_best_epoch_and_patience(lines, patience, best, n_epochs, tmp_path, monkeypatch):
    training = small_training(tmp_path, 8, 2, epochs=4, patience=patience)
    scripted(training, monkeypatch, lines)
    seen = [weights_of(training.network), *steps_seen(training, monkeypatch)]
    steps = steps_seen(training, monkeypatch)
    training.fit()
    assert training.state.best_epoch == best
    assert len(training.state.history) - 1 == n_epochs == len(steps)
    chosen = [*seen, *steps][best]
    assert torch.equal(weights_of(training.network), chosen)
    assert torch.equal(kept_weights(training), chosen)


def test_a_start_that_has_learnt_nothing_is_not_kept(tmp_path, monkeypatch):
    training = small_training(tmp_path, 8, 2, epochs=3)
    training.keeps_start = False
    scripted(training, monkeypatch, [(0.9, 1.0), (0.3, 1.0), (0.5, 1.0), (0.4, 1.0)])
    training.fit()
    assert training.state.best_epoch == 2


def test_without_a_held_out_part_the_last_epoch_is_kept(tmp_path, monkeypatch):
    training = small_training(tmp_path, 8, epochs=3, patience=1)
    steps = steps_seen(training, monkeypatch)
    training.fit()
    assert training.state.best_epoch == 3 == len(steps)
    assert torch.equal(kept_weights(training), steps[-1])
    assert "val_metric" not in training.state.history[-1]


@pytest.mark.parametrize("freeze", [True, False])
def test_statistics_of_batch_norm(freeze, tmp_path):
    training = small_training(tmp_path, freeze_statistics=freeze)
    norm = training.network.body.network[2]
    images = training.train.inputs.inputs
    with torch.no_grad():
        rows = training.network.body.network[:2]((images.float() / 255 - 0.5) / 0.25)
    training.fit()
    # Of the first batch PyTorch takes a tenth.
    expected = torch.zeros(4) if freeze else 0.1 * rows.mean(0)
    torch.testing.assert_close(norm.running_mean, expected, rtol=1e-4, atol=1e-6)
    assert bool((norm.running_var == 1).all()) == freeze


def test_statistics_stay_after_a_look_at_the_held_out_part(tmp_path):
    training = small_training(tmp_path, 8, 4, epochs=3, freeze_statistics=False)
    modes = []
    training.network.body.network[2].register_forward_pre_hook(
        lambda module, _: modes.append(module.training)
    )
    training.fit()
    # Look, step, look, step, …: in training by the batch, measured by the kept statistics.
    assert modes == [False, *[True, False] * 3]


def test_weight_decay_is_for_matrices(tmp_path):
    training = small_training(tmp_path, learning_rate=0.1, weight_decay=0.5)
    body, head = training.network.body.network, training.network.head
    plain = small_training(tmp_path, learning_rate=0.1)
    before = {n: p.detach().clone() for n, p in training.network.named_parameters()}
    training.fit()
    plain.fit()
    for name, value in before.items():
        # SGD: the decay is a gradient of weight_decay times the weight.
        decay = 0.1 * 0.5 * value if value.ndim > 1 else torch.zeros_like(value)
        step = plain.state.best[name] - training.state.best[name]
        torch.testing.assert_close(step, decay, rtol=1e-3, atol=1e-6)
    assert {body[1].weight.ndim, head.weight.ndim} == {2}


def test_balanced_sampling_shows_the_rare_class(tmp_path, monkeypatch):
    images = Rows(torch.zeros(40, 3, 2, 2, dtype=torch.uint8))
    rare = LabelledSamples(images, torch.tensor([0] * 36 + [1] * 4))
    settings = {"batch_size": 10, "epochs": 5, "sampling": "balanced"}
    training = small_training(tmp_path, 40, train=rare, **settings)
    seen = mixed_batches(training, monkeypatch)
    training.fit()
    assert 0.35 < float(torch.cat([targets for _, targets in seen]).float().mean()) < 0.65


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_numeric_class_of_the_forward_pass(precision, dtype, tmp_path):
    training = small_training(tmp_path, 8, 4, precision=precision)
    dtypes = []
    training.network.head.register_forward_hook(lambda *a: dtypes.append(a[2].dtype))
    training.fit()
    assert dtypes == [dtype] * 3  # before, in a step, after
    assert {t.dtype for t in training.state.best.values()} <= {torch.float32, torch.int64}


def test_the_seed_decides_the_order(tmp_path):
    rows = []
    for seed in (0, 0, 1):
        training = small_training(tmp_path, 8, batch_size=2, seed=seed)
        training.fit()
        rows.append(kept_weights(training))
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])


class Stopped(Exception):
    """In the place of a signal."""


def test_a_checkpoint_within_an_epoch_goes_on_at_the_next_step(tmp_path, monkeypatch):
    settings = {"batch_size": 2, "epochs": 2, "learning_rate": 0.05, "ema": 0.5}
    whole = small_training(tmp_path / "a", 8, 4, **settings)
    (tmp_path / "a").mkdir()
    whole.fit()
    killed = small_training(tmp_path, 8, 4, **settings)
    take = loop.TrainingLoop._take_step
    with monkeypatch.context() as patch:
        count = iter(range(99))

        def step(self, *arguments):
            if next(count) == 2:
                raise Stopped
            return take(self, *arguments)

        patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(loop.TrainingLoop, "_take_step", step)
        with pytest.raises(Stopped):
            killed.fit()
    resumed = small_training(tmp_path, 8, 4, **settings)
    seen = mixed_batches(resumed, monkeypatch)
    resumed.fit(resume=True)
    assert len(seen) == 6  # of eight steps two were done
    assert torch.equal(kept_weights(resumed), kept_weights(whole))
    assert resumed.state.best_epoch == whole.state.best_epoch
    for a, b in zip(whole.state.history, resumed.state.history, strict=True):
        np.testing.assert_equal({**a, "seconds": 0}, {**b, "seconds": 0})


def test_the_scale_of_half_precision_goes_on(tmp_path):
    killed = small_training(tmp_path, 8, precision="fp16")
    killed.fit()
    state = killed.learner.scaler.state_dict()
    killed.learner.scaler.load_state_dict({**state, "scale": 123.0})
    save_run(tmp_path, "small", killed.state, killed.learner)
    resumed = small_training(tmp_path, 8, precision="fp16")
    resumed.fit(resume=True)
    assert state["scale"] != 123
    assert resumed.learner.scaler.get_scale() == 123


def test_patience_goes_on_after_a_resumption(tmp_path, monkeypatch):
    lines = [(0.5, 1.0), (0.6, 1.0), *[(0.4, 1.0)] * 9]
    killed = small_training(tmp_path, 8, 2, epochs=9, patience=3)
    with monkeypatch.context() as patch:
        scripted(killed, patch, lines)

        def stop(folder, signature, state, learner):
            save_run(folder, signature, state, learner)
            if state.epoch == 2:
                raise Stopped

        patch.setattr(loop, "save_run", stop)
        with pytest.raises(Stopped):
            killed.fit()
    resumed = small_training(tmp_path, 8, 2, epochs=9, patience=3)
    scripted(resumed, monkeypatch, lines[3:])
    resumed.fit(resume=True)
    assert (resumed.state.best_epoch, len(resumed.state.history) - 1) == (1, 4)
