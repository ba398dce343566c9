"""Distances to the nearest of many vectors, a part of these at a time."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["nearest", "sampled"]

# Vectors that are compared with at a time. Their number is fixed, so an exported network has
# one piece of code for each part.
_AT_ONCE = 1024


def nearest(vectors: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k nearest members of a bank, and the distances to them.

    Parameters
    ----------
    vectors : Tensor of shape (n, d)
        Which are looked up.
    bank : Tensor of shape (m, d)
        Where.
    k : int
        How many; all of the bank if it has fewer.

    Returns
    -------
    (Tensor, Tensor)
        Euclidean distances, ascending, and positions in the bank, both ``(n, min(k, m))``.

    Examples
    --------
    >>> distances, at = nearest(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0], [3, 3]]), 5)
    >>> distances.tolist(), at.tolist()
    ([[1.0, 5.0]], [[1, 0]])
    """
    k = min(k, len(bank))
    own = (vectors * vectors).sum(1, keepdim=True)
    best, where = None, None
    for start in range(0, len(bank), _AT_ONCE):
        part = bank[start : start + _AT_ONCE]
        # |a - b|² = |a|² - 2 a·b + |b|², so that one product serves all pairs.
        squares = own - 2 * vectors @ part.T + (part * part).sum(1)
        found, at = squares.topk(min(k, len(part)), dim=1, largest=False)
        at = at + start
        if best is not None and where is not None:
            found, at = torch.cat([best, found], 1), torch.cat([where, at], 1)
            found, chosen = found.topk(min(k, found.shape[1]), dim=1, largest=False)
            at = at.gather(1, chosen)
        best, where = found, at
    assert best is not None
    assert where is not None
    return best.clamp_min(0).sqrt(), where


def sampled(descriptors: Tensor, n: int, random: torch.Generator) -> Tensor:
    """Draw n patches of every image, at positions drawn anew for each.

    Parameters
    ----------
    descriptors : Tensor of shape (B, d, h, w)
        Of the patches.
    n : int
        Patches of an image; all if it has fewer.
    random : torch.Generator
        On the CPU. What is drawn of an image doesn't depend on the size of its batch.
    """
    flat = descriptors.flatten(2)
    at = [torch.randperm(flat.shape[2], generator=random)[:n] for _ in flat]
    return torch.cat([one[:, i.to(one.device)].T for one, i in zip(flat, at, strict=True)])
