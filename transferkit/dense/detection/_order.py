"""`highest`, the order of scores, which is the same for every engine that computes them."""

from __future__ import annotations

from torch import Tensor

__all__ = ["highest"]

# Above this sorting all of them takes longer than what is computed from them.
_MOST_SORTED = 20_000


def highest(scores: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Scores of each image from the highest on, and where they stand; of equal ones the first.

    In an even part of an image, such as a white border, a head gives many places the very same
    score. ``topk`` takes any of them, ONNX's TopK the first, and of boxes that say the same the
    first one suppresses the others.

    Parameters
    ----------
    scores : Tensor of shape (B, m)
        m is n or more.
    n : int
        How many. Of more than 20,000 scores, it is left open which ones of those that are equal
        to the last one are among them.

    Returns
    -------
    scores : Tensor of shape (B, n)
    places : Tensor of shape (B, n)

    Examples
    --------
    >>> import torch
    >>> [each.tolist() for each in highest(torch.tensor([[0.5, 0.75, 0.5, 0.75]]), 3)]
    [[[0.75, 0.75, 0.5]], [[1, 3, 0]]]
    """
    if scores.shape[1] <= _MOST_SORTED:
        ordered, at = scores.sort(dim=1, descending=True, stable=True)
        return ordered[:, :n], at[:, :n]
    some = scores.topk(n, dim=1).indices.sort(dim=1, stable=True).values
    ordered, order = scores.gather(1, some).sort(dim=1, descending=True, stable=True)
    return ordered, some.gather(1, order)
