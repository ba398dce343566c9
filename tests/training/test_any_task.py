"""The loop asks nothing of what is learnt: here a map a picture, and lists of other lengths."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from transferkit.training import (
    Batches,
    Evaluation,
    Processes,
    Samples,
    TrainingLoop,
    TrainingSettings,
)
from transferkit.training.schedule import parameter_groups

pytestmark = pytest.mark.finetuning

CPU = Processes(torch.device("cpu"))


class Pictures(Samples):
    """Noise of 8 × 8 px, whose bright pixels are the foreground: a map, and their places."""

    def __init__(self, n):
        generator = torch.Generator().manual_seed(0)
        self.pixels = torch.rand(n, 3, 8, 8, generator=generator)

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, key):
        pixels = self.pixels[key[0]]
        is_bright = pixels.mean(0) > 0.5
        return pixels, {"map": is_bright.long(), "places": is_bright.nonzero()}


def together(samples):
    pixels, targets = zip(*samples, strict=True)
    return torch.stack(pixels), list(targets)


class Segmenter(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU())
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, pixels):
        return self.head(self.body(pixels))


def loss_of_maps(network, batch):
    pixels, targets = batch
    return functional.cross_entropy(network(pixels), torch.stack([t["map"] for t in targets]))


def loss_of_places(network, batch):
    """Of lists: a picture without a bright pixel would have an empty one."""
    pixels, targets = batch
    scores = network(pixels).log_softmax(1)[:, 1]
    bright = [s[tuple(t["places"].T)] for s, t in zip(scores, targets, strict=True)]
    dark = network(pixels).log_softmax(1)[:, 0].mean()
    return -(torch.cat(bright).mean() + dark)


@pytest.mark.parametrize("loss", [loss_of_maps, loss_of_places])
def test_dense_targets(loss, tmp_path):
    torch.manual_seed(0)
    network, held = Segmenter(), together([Pictures(30)[i, -1] for i in range(20, 30)])

    def evaluate(trained):
        with torch.no_grad():
            predicted = trained(held[0]).argmax(1)
        truth = torch.stack([t["map"] for t in held[1]])
        return Evaluation(float((predicted == truth).float().mean()))

    settings = TrainingSettings(
        epochs=8, batch_size=4, accumulate=2, learning_rate=0.05, ema=0.5, patience=8, seed=1
    )
    loop = TrainingLoop(
        network,
        loss,
        Batches(Pictures(20), settings, collate=together),
        settings,
        CPU,
        tmp_path,
        signature="dense",
        groups=parameter_groups(network.body, network.head, settings),
        evaluate=evaluate,
        metric_name="pixel accuracy",
        n_evaluated=10,
    )
    loop.fit()
    history = loop.state.history
    if loss is loss_of_maps:
        assert evaluate(network).metric > 0.9
    assert history[-1]["train_loss"] < history[1]["train_loss"]
    best = max(line["val_metric"] for line in history)
    assert evaluate(network).metric == pytest.approx(best)
    assert history[loop.state.best_epoch]["val_metric"] == best
    written = np.genfromtxt(tmp_path / "log.csv", delimiter=",", names=True)
    assert len(written) == len(history)
    assert math.isnan(written["train_loss"][0])
