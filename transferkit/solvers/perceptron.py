"""Multilayer perceptrons, trained by AdamW in torch and run in NumPy; a trained one is arrays.

Most of a step is spent in the first matrix, in its products and in AdamW's update. So products
are in bfloat16 where the processor does so natively (weights, updates and scores stay float32),
the update is torch's fused one, and batches are as large as the rows allow.

Rows are trained on in buffers, which are shuffled. There is one buffer, of all rows, unless these
are more than `BUFFER` numbers. Then each epoch fills several in turn with runs of neighbouring rows
in a random order. So a batch holds rows of one buffer only, and a buffer's mixture of classes is
that of as many random runs, where rows are sorted by class.

torch is imported in functions only, so that listing heads, and predicting, don't wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transferkit.solvers.objective import quick_dtype
from transferkit.solvers.standardize import ScaledRows

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Perceptron", "Trained", "TrainingOptions", "scores", "train"]

Array = NDArray[Any]
Layers = list[tuple[Array, Array]]

# In products with fewer multiplications than this, bfloat16 saves less than the conversion takes.
LARGE = 2**22
# Numbers that are held on the device at once, 512 MB in float32.
BUFFER = 2**27
# Neighbouring rows that stay together in a buffer. They are read at once.
RUN = 256
# Numbers that are read and converted at once.
BLOCK = 2**21


@dataclass(frozen=True)
class TrainingOptions:
    """How to train: the parameters of `transferkit.heads.mlp.MLPClassifier`, resolved.

    Parameters
    ----------
    loss : {"softmax", "sigmoid", "squared"}
        For one of several classes, several labels, numbers.
    hidden : tuple of int
        Widths of the hidden layers.
    dropout, learning_rate, weight_decay, label_smoothing : float
        As their names say.
    batch_size, max_epochs, patience, seed : int
        As their names say; the learning rate reaches 0 after `max_epochs`.
    device : str
        torch's.
    stop_after : int, optional
        Epochs after which to stop, with the learning rates of the whole schedule.
    """

    loss: str
    hidden: tuple[int, ...]
    dropout: float
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    batch_size: int
    max_epochs: int
    patience: int
    seed: int
    device: str
    stop_after: int | None = None

    def stopping_after(self, n_epochs: int) -> TrainingOptions:
        """Return the same options, with a stop after some epochs of the schedule."""
        return replace(self, stop_after=n_epochs)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network.

    Parameters
    ----------
    layers : list of (ndarray of shape (n_in, n_out), ndarray of shape (n_out,))
        Weights and biases, float32; those of the best epoch if rows were held out.
    losses : list of float
        Held-out loss after each epoch; empty without held-out rows.
    best_epoch : int
        Epochs after which the held-out loss was smallest, or the last.
    """

    layers: Layers
    losses: list[float]
    best_epoch: int


def scores(X: Array, layers: Layers) -> Array:
    """Run the network without dropout.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Standardised features, float32.
    layers
        Of `Trained`.

    Returns
    -------
    ndarray of shape (n_samples, n_out)
        Before any softmax.
    """
    for number, (matrix, bias) in enumerate(layers):
        X = X @ matrix + bias
        if number < len(layers) - 1:
            np.maximum(X, 0, out=X)
    return X


def train(
    X: ScaledRows,
    Y: Array,
    weight: Array | None,
    held: Array | None,
    n_out: int,
    options: TrainingOptions,
) -> Trained:
    """Minimise the mean weighted loss by AdamW with a cosine schedule.

    Parameters
    ----------
    X : ScaledRows
        Standardised features.
    Y : ndarray of shape (n_samples,) or (n_samples, n_out)
        Class numbers; for "sigmoid" 0 and 1, for "squared" standardised numbers.
    weight : ndarray of shape (n_samples,) or None
        Sample weights.
    held : ndarray of bool of shape (n_samples,) or None
        Rows that decide when to stop and which weights are kept, and aren't trained on.
    n_out : int
        Scores per sample.
    options : TrainingOptions
        Everything else.
    """
    import torch  # late: the list of heads shouldn't wait for it

    # A generator of its own, so that torch's global one is neither read nor changed.
    generator = torch.Generator().manual_seed(options.seed)
    net = Perceptron([X.shape[1], *options.hidden, n_out], options, generator)
    every = np.arange(len(X))
    data = _Buffers(X, Y, weight, every if held is None else every[~held], net)
    test = None if held is None else _Buffers(X, Y, weight, every[held], net)
    optimizer = net.optimizer()
    n_batches = [-(-size // options.batch_size) for size in data.sizes]
    n_steps = options.max_epochs * sum(n_batches)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    losses: list[float] = []
    best, best_epoch = None, 0
    for epoch in range(1, (options.stop_after or options.max_epochs) + 1):
        for number, buffer in enumerate(data.filled(generator)):
            order = torch.randperm(len(buffer[0]), generator=generator).to(net.device)
            # Of equal sizes: a last one of few is noise.
            for rows in order.tensor_split(n_batches[number]):
                optimizer.zero_grad()
                torch.autograd.backward(net.loss(*(part[rows] for part in buffer), drop=True))
                optimizer.step()
                schedule.step()
            del buffer  # before the next one is filled
        if test is None:
            best_epoch = epoch
            continue
        with torch.no_grad():
            each = [float(net.loss(*buffer, drop=False)) for buffer in test.filled()]
        losses.append(float(np.average(each, weights=test.sizes)))
        if losses[-1] <= min(losses):
            best, best_epoch = net.arrays(), epoch
        elif epoch - best_epoch >= options.patience:
            break
    return Trained(best or net.arrays(), losses, best_epoch)


class Perceptron:
    """The layers in torch; each matrix is (n_out, n_in), the order quickest to train in."""

    def __init__(
        self, widths: list[int], options: TrainingOptions, generator: torch.Generator
    ) -> None:
        import torch

        self.options = options
        self.device = torch.device(options.device)
        self.masks = torch.Generator(self.device).manual_seed(options.seed)
        self.layers: list[tuple[Tensor, Tensor]] = []
        for number, (n_in, n) in enumerate(pairwise(widths)):
            # He's bound before a ReLU; at the end a smaller one, for small first scores.
            bound = ((6.0 if number < len(options.hidden) else 1.0) / n_in) ** 0.5
            matrix = torch.empty(n, n_in).uniform_(-bound, bound, generator=generator)
            bias = torch.zeros(n, device=self.device, requires_grad=True)
            self.layers.append((matrix.to(self.device).requires_grad_(), bias))
        quick = quick_dtype(self.device) or torch.float32
        self.dtypes = [
            quick if options.batch_size * matrix.numel() >= LARGE else torch.float32
            for matrix, _ in self.layers
        ]

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW without weight decay on biases."""
        import torch

        matrices, biases = zip(*self.layers, strict=True)
        groups = [
            {"params": matrices, "weight_decay": self.options.weight_decay},
            {"params": biases, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.options.learning_rate, fused=True)

    def forward(self, x: Tensor, *, drop: bool) -> Tensor:
        """Scores of rows, float32."""
        import torch
        from torch.nn import functional as F

        for number, ((matrix, bias), dtype) in enumerate(
            zip(self.layers, self.dtypes, strict=True)
        ):
            if number:
                x = torch.relu(x)
                if drop and self.options.dropout:  # the features themselves are never dropped
                    x = self.dropped(x)
            x = F.linear(x.to(dtype), matrix.to(dtype), bias.to(dtype))
        return x.float()

    def loss(self, x: Tensor, y: Tensor, w: Tensor, *, drop: bool) -> Tensor:
        """Mean weighted loss of rows."""
        from torch.nn import functional as F

        out, smoothing = self.forward(x, drop=drop), self.options.label_smoothing
        if self.options.loss == "softmax":
            each = F.cross_entropy(out, y, reduction="none", label_smoothing=smoothing)
        elif self.options.loss == "sigmoid":
            y = y * (1 - smoothing) + smoothing / 2
            each = F.binary_cross_entropy_with_logits(out, y, reduction="none").mean(dim=1)
        else:
            each = F.mse_loss(out, y, reduction="none").mean(dim=1)
        return (w * each).mean()

    def dropped(self, x: Tensor) -> Tensor:
        """Drop units. A mask by `bernoulli_` would take as long as the first layer's product."""
        import torch

        # One draw of 64 bits decides for four units, to within 2⁻¹⁶ of the share.
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
        draws.random_(-(2**63), None, generator=self.masks)
        numbers = draws.view(torch.int16)[: x.numel()].view(x.shape)
        kept = numbers >= min(round((self.options.dropout - 0.5) * 2**16), 2**15 - 1)
        return x * (kept.to(x.dtype) / (1 - self.options.dropout))

    def arrays(self) -> Layers:
        """Copy the weights into arrays, each matrix as (n_in, n_out)."""
        return [
            (matrix.detach().cpu().numpy().T.copy(), bias.detach().cpu().numpy().copy())
            for matrix, bias in self.layers
        ]


class _Buffers:
    """Some of the rows on the device, in as few equal buffers as they need.

    Parameters
    ----------
    X, Y, weight
        As in `train`.
    rows : ndarray of int
        Which rows, ascending.
    net : Perceptron
        Which trains on them.

    Attributes
    ----------
    sizes : list of int
        Rows of each buffer.
    """

    def __init__(
        self, X: ScaledRows, Y: Array, weight: Array | None, rows: Array, net: Perceptron
    ) -> None:
        self.X, self.Y, self.weight, self.rows, self.net = X, Y, weight, rows, net
        n_buffers = max(1, -(-len(rows) * X.shape[1] // BUFFER))
        self.sizes = [len(part) for part in np.array_split(rows, n_buffers)]
        self._kept: tuple[Tensor, Tensor, Tensor] | None = None

    def filled(
        self, generator: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Fill one buffer after the other; a single one once, and then it is kept.

        Parameters
        ----------
        generator : torch.Generator, optional
            Puts the runs of rows into a random order; without it they keep theirs.
        """
        import torch

        if len(self.sizes) == 1:
            self._kept = self._kept or self._on_device(self.rows)
            yield self._kept
            return
        rows = self.rows
        if generator is not None:
            runs = np.array_split(rows, -(-len(rows) // RUN))
            order = torch.randperm(len(runs), generator=generator).tolist()
            rows = np.concatenate([runs[i] for i in order])
        for part in np.array_split(rows, len(self.sizes)):
            yield self._on_device(np.sort(part))

    def _on_device(self, rows: Array) -> tuple[Tensor, Tensor, Tensor]:
        """Features in the type of the first product, targets, weights."""
        import torch

        net = self.net
        kind = np.int64 if net.options.loss == "softmax" else np.float32
        y = torch.from_numpy(self.Y[rows].astype(kind))
        w = np.ones(len(y))
        if self.weight is not None:
            w = self.weight[rows] / self.weight.mean()
        x = torch.empty(len(rows), self.X.shape[1], dtype=net.dtypes[0])
        step = max(16, BLOCK // self.X.shape[1])
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            x[part] = torch.from_numpy(self.X[rows[part]])
        weights = torch.from_numpy(w.astype(np.float32))
        return x.to(net.device), y.to(net.device), weights.to(net.device)
