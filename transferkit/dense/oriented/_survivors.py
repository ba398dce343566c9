"""`survivors_of_overlaps`, greedy suppression of objects of any shape by how much they overlap.

As in `transferkit.dense.detection._survivors`, what depends on what is on the images is one
operator of torch with a result of fixed shape, which an exporter can replace.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["survivors_of_overlaps"]


def survivors_of_overlaps(overlaps: Tensor, scores: Tensor, groups: Tensor, iou: float) -> Tensor:
    """Tell which objects overlap with no better one of their image and group that stays.

    Parameters
    ----------
    overlaps : Tensor of shape (B, n, n)
        Of each with each other one, from 0 to 1.
    scores : Tensor of shape (B, n)
        Objects of score 0 or less don't stay. Of equal ones the first is the better.
    groups : Tensor of shape (B, n)
        int64: objects of different groups leave one another alone.
    iou : float
        Overlap above which the lower score goes.

    Returns
    -------
    Tensor of shape (B, n)
        bool.

    Examples
    --------
    >>> overlaps = torch.tensor([[[1.0, 0.7, 0.0], [0.7, 1.0, 0.7], [0.0, 0.7, 1.0]]])
    >>> scores, groups = torch.tensor([[0.9, 0.8, 0.7]]), torch.zeros(1, 3).long()
    >>> survivors_of_overlaps(overlaps, scores, groups, 0.5).tolist()
    [[True, False, True]]
    """
    places = torch.arange(scores.shape[1], device=scores.device)
    one, other = scores[:, :, None], scores[:, None]
    is_better = (one > other) | ((one == other) & (places[:, None] < places))
    is_rival = (overlaps > iou) & (groups[:, :, None] == groups[:, None])
    stay: Tensor = unrivalled(is_rival & is_better, scores > 0)
    return stay


@torch.library.custom_op(
    "transferkit::unrivalled",
    mutates_args=(),
    schema="(Tensor beats, Tensor usable) -> Tensor",
)
def unrivalled(beats: Tensor, usable: Tensor) -> Tensor:
    """Tell which objects are beaten by none that stays itself.

    At first all stay. Each round those go that one that stays beats, and only those. The best
    object is right from the start, and after each round all those are that only such ones beat
    which are right already; so the rounds end, with what going from the best to the worst gives.

    Parameters
    ----------
    beats : Tensor of shape (B, n, n)
        bool: whether an object beats another one, in no circles.
    usable : Tensor of shape (B, n)
        bool: those that may stay.

    Returns
    -------
    Tensor of shape (B, n)
        bool.
    """
    # Products of float32 are quick, and sums of up to 16 million ones exact.
    weights, stay, before = beats.float(), usable, torch.zeros_like(usable)
    while not torch.equal(stay, before):
        before = stay
        stay = usable & (torch.bmm(stay[:, None].float(), weights)[:, 0] == 0)
    # An operator's result may not be one of its inputs.
    return stay.clone()


@unrivalled.register_fake
def _(beats: Tensor, usable: Tensor) -> Tensor:
    return torch.empty_like(usable)
