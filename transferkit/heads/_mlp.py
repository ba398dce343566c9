"""The pure part of the mlp head: training in torch, prediction in NumPy; the net is arrays.

torch is imported by `train` only, so that listing heads, and predicting, don't wait for it.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Plan", "Trained", "scores", "train"]

Array = NDArray[Any]
Layers = list[tuple[Array, Array]]


@dataclass(frozen=True)
class Plan:
    """How to train: the parameters of `transferkit.heads.mlp.Classifier`, resolved.

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

    def stopping_after(self, n_epochs: int) -> "Plan":
        """The same plan, cut short."""
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
    X: Array, Y: Array, weight: Array | None, held: Array | None, n_out: int, plan: Plan
) -> Trained:
    """Minimise the mean weighted loss by AdamW with a cosine schedule.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Standardised features, float32.
    Y : ndarray of shape (n_samples,) or (n_samples, n_out)
        Class numbers; for "sigmoid" 0 and 1, for "squared" standardised numbers.
    weight : ndarray of shape (n_samples,) or None
        Sample weights.
    held : ndarray of bool of shape (n_samples,) or None
        Rows that decide when to stop and which weights are kept, and aren't trained on.
    n_out : int
        Scores per sample.
    plan : Plan
        Everything else.
    """
    import torch  # late: the list of heads shouldn't wait for it
    from torch.nn import functional as F

    # Our own generator: the global one is neither read nor moved.
    generator = torch.Generator().manual_seed(plan.seed)
    device = torch.device(plan.device)
    masks = torch.Generator(device).manual_seed(plan.seed)

    def on_device(rows: Any) -> tuple[Any, Any, Any]:
        y = torch.from_numpy(Y[rows].astype(np.int64 if plan.loss == "softmax" else np.float32))
        w = np.ones(len(y)) if weight is None else weight[rows] / weight.mean()
        w = torch.from_numpy(w.astype(np.float32))
        x = torch.from_numpy(np.ascontiguousarray(X[rows], dtype=np.float32))
        return x.to(device), y.to(device), w.to(device)

    def loss_of(out: Any, y: Any, w: Any, smoothing: float) -> Any:
        if plan.loss == "softmax":
            each = F.cross_entropy(out, y, reduction="none", label_smoothing=smoothing)
        elif plan.loss == "sigmoid":
            y = y * (1 - smoothing) + smoothing / 2
            each = F.binary_cross_entropy_with_logits(out, y, reduction="none").mean(dim=1)
        else:
            each = F.mse_loss(out, y, reduction="none").mean(dim=1)
        return (w * each).mean()

    widths = [X.shape[1], *plan.hidden, n_out]
    layers = []
    for number, (n_in, n) in enumerate(pairwise(widths)):
        # He's bound for layers before a ReLU; a smaller one, for small first scores, at the end.
        bound = ((6.0 if number < len(plan.hidden) else 1.0) / n_in) ** 0.5
        matrix = torch.empty(n_in, n).uniform_(-bound, bound, generator=generator)
        bias = torch.zeros(n, device=device, requires_grad=True)
        layers.append((matrix.to(device).requires_grad_(), bias))

    def forward(x: Any, drop: bool) -> Any:
        for number, (matrix, bias) in enumerate(layers):
            if drop and plan.dropout and number:  # the features themselves are never dropped
                kept = torch.empty_like(x).bernoulli_(1 - plan.dropout, generator=masks)
                x = x * kept / (1 - plan.dropout)
            x = x @ matrix + bias
            if number < len(layers) - 1:
                x = F.relu(x)
        return x

    x, y, w = on_device(slice(None) if held is None else ~held)
    test = None if held is None else on_device(held)
    optimizer = torch.optim.AdamW(
        [
            {"params": [matrix for matrix, _ in layers], "weight_decay": plan.weight_decay},
            {"params": [bias for _, bias in layers], "weight_decay": 0.0},
        ],
        lr=plan.learning_rate,
    )
    starts = range(0, len(x), plan.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, T_max=plan.max_epochs * len(starts)
    )
    losses: list[float] = []
    best, best_epoch = None, 0
    for epoch in range(1, (plan.stop_after or plan.max_epochs) + 1):
        order = torch.randperm(len(x), generator=generator).to(device)
        for first in starts:
            rows = order[first : first + plan.batch_size]
            optimizer.zero_grad()
            loss_of(forward(x[rows], True), y[rows], w[rows], plan.label_smoothing).backward()
            optimizer.step()
            schedule.step()
        if test is None:
            best_epoch = epoch
            continue
        with torch.no_grad():
            losses.append(
                float(loss_of(forward(test[0], False), test[1], test[2], plan.label_smoothing))
            )
        if losses[-1] <= min(losses):
            best_epoch = epoch
            best = [(m.detach().clone(), b.detach().clone()) for m, b in layers]
        elif epoch - best_epoch >= plan.patience:
            break
    found = layers if best is None else best
    arrays = [(m.detach().cpu().numpy(), b.detach().cpu().numpy()) for m, b in found]
    return Trained(arrays, losses, best_epoch)
