"""The order of the samples and their seeds."""

import numpy as np
import pytest
import torch

from transferkit.training import Batches, Samples, TrainingSettings, load_batches, seed_of

pytestmark = pytest.mark.finetuning


class Numbers(Samples):
    """The position of each sample, and its seed."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, key):
        return torch.tensor(key[0]), key[1]


def order_of(n, epoch):
    return Batches(Numbers(n), TrainingSettings(epochs=9, batch_size=4)).order(epoch)


def test_an_epoch_shows_every_image_once():
    order = order_of(20, 3)
    assert order.shape == (5, 4)
    assert sorted(order.ravel()) == list(range(20))
    assert (order_of(20, 4) != order).any()
    np.testing.assert_array_equal(order_of(20, 3), order)


def test_steps_are_full():
    assert order_of(11, 0).shape == (2, 4)
    assert order_of(3, 0).shape == (1, 4)


def test_shares_are_how_often_a_sample_comes():
    shares = np.array([0.5, 0.25, 0.25, 0])
    batches = Batches(Numbers(4), TrainingSettings(epochs=1, batch_size=4), share=shares)
    shown = np.concatenate([batches.order(epoch).ravel() for epoch in range(500)])
    found = np.bincount(shown, minlength=4) / len(shown)
    assert found == pytest.approx(shares, abs=0.05)


def test_seeds_differ():
    seeds = {seed_of(a, b) for a in range(30) for b in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_samples_may_be_read_a_batch_at_a_time():
    asked = []

    class Together(Numbers):
        def __getitems__(self, keys):
            asked.append([position for position, _ in keys])
            return [self[key] for key in keys]

    rows = [np.array([2, 0]), np.array([1, 1, 3])]
    for collate in (None, list):
        asked.clear()
        batches = list(load_batches(Together(4), rows, (5,), 0, collate=collate))
        assert asked == [[2, 0], [1, 1, 3]]
        assert len(batches) == 2
    assert [seed for _, seed in batches[0]] == [seed_of(5, 2), seed_of(5, 0)]
