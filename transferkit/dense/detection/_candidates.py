"""From scores at all places to the candidates of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from transferkit.dense.detection._coding import boxes_of_deltas, cut_off
from transferkit.dense.detection._head import Candidates
from transferkit.dense.detection._order import highest

__all__ = [
    "MOST_OF_LEVEL",
    "AnchorLevel",
    "best_of_level",
    "candidates_of_anchors",
    "joined_levels",
]

MOST_OF_LEVEL = 1000
"""Most candidates of a level; Lin et al. (2017), "Focal loss", section 4.1."""


def best_of_level(scores: Tensor, most: int = MOST_OF_LEVEL) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the highest scores of a level, whatever class and place they are of.

    How many there are depends on the sizes alone.

    Parameters
    ----------
    scores : Tensor of shape (B, n, n_classes - 1)
        Of each place, and each class but the background.
    most : int, default=MOST_OF_LEVEL
        Most of them.

    Returns
    -------
    scores, labels, places : Tensor of shape (B, k)
        Labels count from 1.

    Examples
    --------
    >>> scores = torch.tensor([[[0.1, 0.9], [0.8, 0.2]]])
    >>> [each.tolist() for each in best_of_level(scores, 2)]
    [[[0.899..., 0.800...]], [[2, 1]], [[0, 1]]]
    """
    n_classes = scores.shape[2]
    flat = scores.flatten(1)
    best, at = highest(flat, min(most, flat.shape[1]))
    return best, at % n_classes + 1, torch.div(at, n_classes, rounding_mode="floor")


def joined_levels(levels: Sequence[Candidates]) -> Candidates:
    """Put the candidates of all levels after one another."""
    boxes, scores, labels = zip(*levels, strict=True)
    return Candidates(torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(labels, 1))


class AnchorLevel(NamedTuple):
    """What a head says of a level's anchors.

    Parameters
    ----------
    scores : Tensor of shape (B, n, classes)
        Before softmax or sigmoid.
    deltas : Tensor of shape (B, n, 4)
        From the anchors to their objects; see `transferkit.dense.detection._coding`.
    anchors : Tensor of shape (n, 4)
        Edges, px.
    """

    scores: Tensor
    deltas: Tensor
    anchors: Tensor


def candidates_of_anchors(
    levels: Sequence[AnchorLevel], probabilities: Sequence[Tensor], size: tuple[int, int]
) -> Candidates:
    """Choose the best anchors of each level, and move them.

    Parameters
    ----------
    levels : sequence of AnchorLevel
        Fine to coarse.
    probabilities : sequence of Tensor of shape (B, n, n_classes - 1)
        Of each level's anchors, and each class but the background.
    size : (int, int)
        Height and width of the input, px.
    """
    found = []
    for level, each in zip(levels, probabilities, strict=True):
        scores, labels, at = best_of_level(each)
        deltas = level.deltas.gather(1, at[..., None].expand(-1, -1, 4))
        boxes = cut_off(boxes_of_deltas(deltas, level.anchors[at]), size)
        found.append(Candidates(boxes, scores, labels))
    return joined_levels(found)
