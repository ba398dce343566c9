"""`survivors`, the suppression of boxes as one operator of torch, which an exporter can replace.

How many boxes stay depends on what is on the images, and a graph of fixed shapes has no place for
that. Of an operator with a result of fixed shape, an exporter needs to know no more than the shape.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms

__all__ = ["survivors"]


@torch.library.custom_op(
    "transferkit::survivors",
    mutates_args=(),
    schema="(Tensor boxes, Tensor scores, Tensor groups, float iou) -> Tensor",
)
def survivors(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float) -> Tensor:
    """Tell which boxes overlap with no better one of their image and group that stays.

    Parameters
    ----------
    boxes : Tensor of shape (B, n, 4)
        Left, top, right and bottom edge, float32.
    scores : Tensor of shape (B, n)
        Boxes of score 0 or less don't stay.
    groups : Tensor of shape (B, n)
        int64, from 0: boxes of different groups leave one another alone.
    iou : float
        Overlap above which the lower score goes.

    Returns
    -------
    Tensor of shape (B, n)
        bool.

    Examples
    --------
    >>> boxes = torch.tensor([[[0.0, 0, 8, 8], [0, 0, 8, 7], [8, 8, 9, 9]]])
    >>> survivors(boxes, torch.tensor([[0.9, 0.8, 0.7]]), torch.zeros(1, 3).long(), 0.5).tolist()
    [[True, False, True]]
    """
    stay = torch.zeros_like(scores, dtype=torch.bool)
    for row, *image in zip(stay, boxes, scores, groups, strict=True):
        usable = (image[1] > 0).nonzero()[:, 0]
        best = batched_nms(*(values[usable] for values in image), iou)
        row[usable[best]] = True
    return stay


@survivors.register_fake
def _(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)
