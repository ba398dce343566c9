"""Losses of segmentation: scores against the class of every pixel, `VOID` left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, log_softmax

from transferkit.annotations import VOID
from transferkit.registry import unknown

__all__ = ["CLASS_WEIGHTS", "LOSSES", "SegmentationLoss", "class_weights_of", "create_loss"]

# Focal loss: the exponent of Lin et al.
_GAMMA = 2.0
# Scores that are resized at a time; many classes of many px would take gigabytes at once.
_AT_ONCE = 1 << 24

CLASS_WEIGHTS = ("none", "root", "balanced")
"""Ways to weigh the classes."""


def class_weights_of(counts: ArrayLike, how: str) -> Tensor | None:
    """Weights of classes, of which those that occur have the mean 1.

    Parameters
    ----------
    counts : array of int, shape (n_classes,)
        Pixels of each class among the training images.
    how : {"none", "root", "balanced"}
        None for all alike; 1/√pixels; 1/pixels. A class that doesn't occur weighs 1.

    Raises
    ------
    ValueError
        If there's no such way.

    Examples
    --------
    >>> class_weights_of([100, 1, 0], "root").tolist()
    [0.1818..., 1.8181..., 1.0]
    """
    if how not in CLASS_WEIGHTS:
        raise unknown("class_weights", how, CLASS_WEIGHTS)
    if how == "none":
        return None
    pixels = np.asarray(counts, dtype=np.float64)
    weights = np.ones(len(pixels))
    occurs = pixels > 0
    raw = pixels[occurs] ** (-0.5 if how == "root" else -1.0)
    weights[occurs] = raw / raw.mean()
    return torch.tensor(weights, dtype=torch.float32)


class SegmentationLoss(nn.Module):
    """Sum of losses, each the mean over the pixels that have a class.

    Parameters
    ----------
    parts : sequence of callable
        ``part(scores (B, C, H, W), target (B, H, W), weight, smoothing)``, `VOID` left out.
    class_weights : Tensor of shape (n_classes,), optional
        Weight of each class.
    label_smoothing : float, default=0
        Share of the target that is spread over all classes.
    """

    weight: Tensor | None

    def __init__(
        self,
        parts: Sequence[Callable[..., Tensor]],
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.parts = list(parts)
        self.label_smoothing = label_smoothing
        self.register_buffer("weight", class_weights)

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        """Loss of a batch; 0 if no pixel has a class.

        Parameters
        ----------
        scores : Tensor of shape (B, n_classes, h, w)
            Before softmax; they are resized to the target's size.
        target : Tensor of int64, shape (B, H, W)
            Class of every pixel, or `VOID`.
        """
        size = target.shape[-2:]
        if scores.shape[1] * target.numel() > _AT_ONCE:
            # Where scores at full size would take too much memory, targets are taken at theirs:
            # at the middle of each of their px, for a corner would move them by half a px.
            small = interpolate(target[:, None].float(), scores.shape[-2:], mode="nearest-exact")
            target = small[:, 0].long()
        elif scores.shape[-2:] != size:
            scores = interpolate(scores, size, mode="bilinear", align_corners=False)
        if not (target != VOID).any():
            return scores.sum() * 0.0
        losses = [part(scores, target, self.weight, self.label_smoothing) for part in self.parts]
        return torch.stack(losses).sum()


# Void px are masked and not cut out, which takes three times as long.


def _cross_entropy(
    scores: Tensor, target: Tensor, weight: Tensor | None, smoothing: float
) -> Tensor:
    return cross_entropy(
        scores, target, weight=weight, label_smoothing=smoothing, ignore_index=VOID
    )


def _focal(scores: Tensor, target: Tensor, weight: Tensor | None, smoothing: float) -> Tensor:
    """Lin et al. (2017), "Focal loss for dense object detection", equation 5."""
    known, true = target != VOID, target.clamp(min=0)
    each = cross_entropy(
        scores, target, label_smoothing=smoothing, ignore_index=VOID, reduction="none"
    )
    sure = log_softmax(scores, 1).gather(1, true[:, None])[:, 0].exp()
    share = known.to(each.dtype) if weight is None else known * weight[true]
    return ((1 - sure) ** _GAMMA * each * share).sum() / share.sum()


def _dice(scores: Tensor, target: Tensor, weight: Tensor | None, smoothing: float) -> Tensor:
    """1 less the soft Dice of the classes that occur in the batch.

    Milletari, Navab, Ahmadi (2016), "V-Net", section 3, for several classes.
    """
    known, true = target != VOID, target.clamp(min=0)
    sure = scores.softmax(1) * known[:, None]
    none = sure.new_zeros(scores.shape[1])
    both = none.index_add(0, true.flatten(), sure.gather(1, true[:, None]).flatten())
    n_true = none.index_add(0, true.flatten(), known.flatten().to(none.dtype))
    dice = 2 * both / (sure.sum((0, 2, 3)) + n_true).clamp(min=1e-6)
    occurs = (n_true > 0).to(none.dtype)
    share = occurs if weight is None else occurs * weight
    return 1 - (dice * share).sum() / share.sum()


LOSSES = {"cross-entropy": _cross_entropy, "dice": _dice, "focal": _focal}
"""Losses by name."""


def create_loss(
    name: str, *, class_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> SegmentationLoss:
    """Make a loss.

    Parameters
    ----------
    name : str
        ``"cross-entropy"``, ``"dice"``, ``"focal"``, or a sum such as ``"cross-entropy+dice"``.
    class_weights : Tensor of shape (n_classes,), optional
        As `class_weights_of` gives them.
    label_smoothing : float, default=0
        Share of the target that is spread over all classes; Dice has none.

    Raises
    ------
    ValueError
        If there's no such loss, or a parameter isn't allowed.

    Examples
    --------
    >>> loss = create_loss("cross-entropy+dice")
    >>> target = torch.tensor([[[0, 1], [VOID, 1]]])
    >>> float(loss(100 * nn.functional.one_hot(target % 2).movedim(-1, 1).float(), target))
    0.0
    """
    names = [part.strip() for part in name.split("+")]
    for part in names:
        if part not in LOSSES:
            raise unknown("loss", part, LOSSES, "Several are added with a + between them.")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing is {label_smoothing}; give 0 to below 1")
    return SegmentationLoss([LOSSES[part] for part in names], class_weights, label_smoothing)
