"""Train a protocol's head by AdamW, with the loss taken at every pixel of the network's input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from transferkit.annotations import VOID
from transferkit.dense.samples import DenseSamples
from transferkit.protocols.segmentation._head import ProbeHead, resized
from transferkit.training import seed_of

__all__ = ["Step", "epochs_of", "levels_of", "pixel_loss", "trained"]

# Scores that are held at a time, so that many classes at many pixels need little memory.
_AT_ONCE = 1 << 24


@dataclass(frozen=True, eq=False)
class Step:
    """One step of the optimizer.

    Parameters
    ----------
    rows : ndarray of int
        Positions of its samples.
    rate : float
        Its learning rate.
    """

    rows: NDArray[np.intp]
    rate: float


def levels_of(samples: DenseSamples) -> tuple[list[int], tuple[int, int]]:
    """Width of each level of some samples, and height and width of their targets, px.

    Raises
    ------
    ValueError
        If the samples have no targets with a class.
    """
    targets = samples.targets
    if targets is None or not any((one < 255).any() for one in _as_bytes(targets)):
        raise ValueError(
            "not one pixel of the training images has a class: all are void; give masks that "
            "name classes"
        )
    return [int(rows.shape[1]) for rows in samples.views[0]], tuple(targets.shape[1:])


def _as_bytes(targets: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Targets of one image after the other, with 255 for void whatever their type."""
    for one in targets:
        yield one if one.dtype == np.uint8 else np.where(one == VOID, 255, 0)


def epochs_of(
    n: int, batch_size: int, generator: torch.Generator, *, drop_last: bool
) -> Iterator[NDArray[np.intp]]:
    """Positions of the samples of one step after the other, in a new order in each epoch.

    Parameters
    ----------
    n : int
        Samples.
    batch_size : int
        Of a step.
    generator : torch.Generator
        Of the orders.
    drop_last : bool
        Whether what is left over after the last whole batch is skipped; of fewer samples than
        a batch all are taken.
    """
    while True:
        order = torch.randperm(n, generator=generator).numpy()
        last = n - n % batch_size if drop_last and n >= batch_size else n
        for start in range(0, last, batch_size):
            yield order[start : min(start + batch_size, last)]


def trained(
    head: Callable[[], ProbeHead],
    samples: DenseSamples,
    steps: Iterable[Step],
    *,
    weight_decay: float,
    counts_void: bool,
    seed: int,
    device: str,
) -> tuple[ProbeHead, dict[str, Any]]:
    """Train a head from its start, in float32.

    Parameters
    ----------
    head : callable
        Makes the head, with random weights.
    samples : DenseSamples
        Maps with targets. Of several views, each is as likely in every step.
    steps : iterable of Step
        In their order.
    weight_decay : float
        Of all parameters.
    counts_void : bool
        Whether the mean of the loss is over all pixels, with void ones at 0.
    seed : int
        Of the start and the views.
    device : str
        Where.

    Returns
    -------
    head : ProbeHead
        In evaluation mode, on the CPU.
    facts : dict
        Number of steps, and the mean loss of the last ten.

    References
    ----------
    Loshchilov and Hutter (2019), "Decoupled weight decay regularization", for AdamW.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = head()
    module.to(device).train()
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=weight_decay)
    losses: list[float] = []
    for number, step in enumerate(steps):
        keys = [(int(row), seed_of(seed, number, k)) for k, row in enumerate(step.rows)]
        batch = samples.__getitems__(keys)
        n_levels = len(batch[0][0])
        levels = [
            torch.stack([maps[i] for maps, _ in batch]).to(device).float() for i in range(n_levels)
        ]
        targets = torch.stack([target for _, target in batch]).to(device).long()
        for group in optimizer.param_groups:
            group["lr"] = step.rate
        optimizer.zero_grad()
        losses.append(pixel_loss(module.parts(levels), targets, counts_void=counts_void))
        optimizer.step()
    if losses and not math.isfinite(losses[-1]):
        raise ArithmeticError(f"the loss is {losses[-1]} after {len(losses)} steps")
    return module.cpu().eval(), {"steps": len(losses), "loss": float(np.mean(losses[-10:]))}


def pixel_loss(parts: list[Tensor], targets: Tensor, *, counts_void: bool) -> float:
    """Mean cross-entropy at all pixels; gradients are added to what made the parts.

    Resizing takes each image by itself, so a few images at a time are resized and left again:
    no more than these are in memory, however many classes there are.

    Parameters
    ----------
    parts : list of Tensor
        From `ProbeHead.parts`.
    targets : Tensor of shape (B, height, width)
        Classes, or `VOID`.
    counts_void : bool
        Whether void pixels count in the mean, with a loss of 0.
    """
    n_pixels = targets.numel() if counts_void else int((targets != VOID).sum())
    if not n_pixels:
        return 0.0
    size = (int(targets.shape[1]), int(targets.shape[2]))
    ends = [part.detach().requires_grad_() for part in parts]
    at_once = max(_AT_ONCE // (parts[0].shape[1] * size[0] * size[1]), 1)
    total = 0.0
    for start in range(0, len(targets), at_once):
        few = slice(start, start + at_once)
        scores = torch.stack([resized(end[few], size) for end in ends]).sum(0)
        loss = cross_entropy(scores, targets[few], ignore_index=VOID, reduction="sum") / n_pixels
        torch.autograd.backward(loss)
        total += float(loss.detach())
    torch.autograd.backward(parts, [end.grad for end in ends])
    return total
