"""Losses of single-stage heads, over all places of an image."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from transferkit.dense.detection._assignment import LEFT_OUT
from transferkit.dense.detection._head import Target

__all__ = ["focal_sum", "paired_ious"]


def focal_sum(scores: Tensor, assignment: Tensor, target: Target) -> Tensor:
    """Focal loss of an image's scores, summed over classes and places.

    Lin et al. (2017), "Focal loss for dense object detection", equation 5, with alpha 0.25 and
    gamma 2.

    Parameters
    ----------
    scores : Tensor of shape (n, n_classes - 1)
        Of every place, before the sigmoid.
    assignment : Tensor of int64, shape (n,)
        The object of each place; see `transferkit.dense.detection._assignment`.
    target : Target
        Of the image.
    """
    truth = torch.zeros_like(scores)
    positive = (assignment >= 0).nonzero()[:, 0]
    truth[positive, target["labels"][assignment[positive]] - 1] = 1
    losses = sigmoid_focal_loss(scores, truth)
    return torch.where((assignment != LEFT_OUT)[:, None], losses, 0.0).sum()


def paired_ious(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU of each box with the one in its place, ``(n,)``.

    Parameters
    ----------
    boxes, others : Tensor of shape (n, 4)
        Edges, px.

    Examples
    --------
    >>> boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
    >>> paired_ious(boxes, torch.tensor([[0.0, 0.0, 2.0, 1.0], [2.0, 2.0, 3.0, 3.0]])).tolist()
    [0.5, 0.0]
    """
    low = torch.maximum(boxes[:, :2], others[:, :2])
    high = torch.minimum(boxes[:, 2:], others[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (others[:, 2:] - others[:, :2]).prod(1)
    return shared / (areas - shared).clamp(min=1e-9)
