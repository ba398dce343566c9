"""Faster R-CNN: a network proposes boxes, and a second stage looks into each of them.

References
----------
Ren, He, Girshick, Sun (2015), "Faster R-CNN: Towards real-time object detection with region
proposal networks"; on the levels of a pyramid: Lin, Dollár, Girshick, He, Hariharan, Belongie
(2017), "Feature pyramid networks for object detection", section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, smooth_l1_loss

from transferkit.dense.detection._anchors import (
    level_shapes,
    suited_ratios,
    suited_sizes,
    usual_sizes,
)
from transferkit.dense.detection._assignment import BACKGROUND, LEFT_OUT, by_iou, known_objects
from transferkit.dense.detection._box_heads import create_box_head
from transferkit.dense.detection._coding import boxes_of_deltas, cut_off, deltas_of
from transferkit.dense.detection._drawing import drawn
from transferkit.dense.detection._head import Candidates, DetectionHead, Target
from transferkit.dense.detection._proposals import ProposalNetwork
from transferkit.dense.detection._regions import RegionAlign, boxes_of_images
from transferkit.dense.detection._towers import laterals
from transferkit.maps import FeatureMaps

__all__ = ["NECK", "FasterRCNNHead", "Head", "Regions", "suited_options"]

NECK = "fpn"

# Height and width of a region's features.
_CELLS = 7
# What shifts and growths of boxes are multiplied by, so that they are about 1: the second stage
# starts from boxes that are near.
_SCALE = (10.0, 5.0)
# A proposal is an object's from this IoU on, and background below it.
_IOU = 0.5
# Most of the proposals that are drawn that are objects'.
_SHARE = 0.25
# Objects of an image from which on it is a crowd.
_CROWD = 50


def suited_options(
    boxes: NDArray[Any], strides: Sequence[float], size: tuple[int, int], most: int = 0
) -> dict[str, Any]:
    """Anchors that suit the boxes; see `transferkit.dense.detection.suited_options`."""
    options = {"sizes": suited_sizes(boxes, strides, 1), "ratios": suited_ratios(boxes, 3)}
    # With half as many proposals 2 of 71 points of AP50 were lost on images of up to 150 nuclei.
    crowd = {"per_level": 512, "n_proposals": 512, "n_drawn": 128} if most > _CROWD else {}
    return {**options, **crowd}


class Regions(NamedTuple):
    """Boxes that the second stage learns from, as many for each image.

    Parameters
    ----------
    boxes : Tensor of shape (B, n, 4)
        px.
    objects : Tensor of shape (B, n)
        Position in the image's target of the object of each, `BACKGROUND` or `LEFT_OUT`.
    labels : Tensor of shape (B, n)
        Its class; 0 for background and what is left out.
    true : Tensor of shape (B, n, 4)
        The object's box, px; the box itself where there is no object.
    """

    boxes: Tensor
    objects: Tensor
    labels: Tensor
    true: Tensor


class FasterRCNNHead(DetectionHead):
    """Proposals of all levels, then class and box of each from the features inside it.

    A head of masks or keypoints reads the same `Regions` by a `RegionAlign` of its own: extend
    `loss_of_regions`.

    Parameters
    ----------
    channels, strides, n_classes
        As for `DetectionHead`.
    width : int, default=64
        Of the levels that both stages look at.
    sizes : sequence of sequence of float, optional
        Sizes of the anchors of each level, px; by default one of four strides.
    ratios : sequence of float, default=(0.5, 1, 2)
        Heights over widths of the anchors.
    box_head : {"fc", "conv"}, default="fc"
        What is made of a region's features: two fully connected layers, or two convolutions and
        one fully connected layer.
    box_width : int, default=256
        Of the fully connected layers.
    per_level : int, default=256
        Proposals of a level, those of the highest scores, before suppression.
    n_proposals : int, default=256
        Proposals of an image after suppression: crowded images want three of each object.
    n_drawn : int, default=64
        Proposals of an image that the second stage learns from in a step.

    Raises
    ------
    ValueError
        If a value isn't allowed.

    Examples
    --------
    >>> maps = FeatureMaps({"fine": torch.zeros(2, 16, 8, 8)}, {"fine": 8})
    >>> head = FasterRCNNHead([16], [8], n_classes=3, n_proposals=50)
    >>> head.candidates(maps, (64, 64)).boxes.shape  # each proposal as either class
    torch.Size([2, 100, 4])
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[float],
        n_classes: int,
        *,
        width: int = 64,
        sizes: Sequence[Sequence[float]] | None = None,
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        box_head: str = "fc",
        box_width: int = 256,
        per_level: int = 256,
        n_proposals: int = 256,
        n_drawn: int = 64,
    ) -> None:
        super().__init__(channels, strides, n_classes)
        counts = {"box_width": box_width, "per_level": per_level, "n_proposals": n_proposals}
        for name, value in {**counts, "n_drawn": n_drawn}.items():
            if value < 1:
                raise ValueError(f"{name} is {value}; give 1 or more")
        self.laterals = laterals(channels, width)
        shapes = level_shapes(
            usual_sizes(strides, 1) if sizes is None else sizes, ratios, self.strides
        )
        self.n_drawn = n_drawn
        self.proposals = ProposalNetwork(
            width, strides, shapes, per_level=per_level, limit=n_proposals
        )
        self.regions = RegionAlign(strides, _CELLS)
        self.box_head = create_box_head(box_head, width, _CELLS, box_width)
        self.classes = nn.Linear(box_width, n_classes)
        self.deltas = nn.Linear(box_width, 4)
        nn.init.normal_(self.classes.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)
        nn.init.zeros_(self.classes.bias)
        nn.init.zeros_(self.deltas.bias)

    def loss(self, maps: FeatureMaps, size: tuple[int, int], targets: Sequence[Target]) -> Tensor:
        """Sum of the losses of both stages; see `DetectionHead.loss`."""
        levels = self.equally_wide(maps)
        proposed = self.proposals(levels, size)
        boxes, _ = self.proposals.boxes(proposed, size)
        regions = self.drawn(boxes, targets)
        first = self.proposals.loss(proposed, targets)
        return first + self.loss_of_regions(levels, size, regions, targets)

    def candidates(self, maps: FeatureMaps, size: tuple[int, int]) -> Candidates:
        """Each proposal once for each class; see `DetectionHead.candidates`."""
        return self.candidates_of(self.equally_wide(maps), size)

    def candidates_of(self, levels: Sequence[Tensor], size: tuple[int, int]) -> Candidates:
        """Candidates from the levels that both stages look at; see `equally_wide`."""
        proposed, found = self.proposals.boxes(self.proposals(levels, size), size)
        logits, deltas = self.seen(levels, size, proposed)
        # Where there is no further proposal, there is no object either.
        scores = logits.softmax(-1)[..., 1:] * (found > 0)[..., None]
        boxes = cut_off(boxes_of_deltas(deltas, proposed, _SCALE), size)
        labels = torch.arange(1, self.n_classes, device=scores.device)
        return Candidates(
            boxes.repeat_interleave(self.n_classes - 1, 1),
            scores.flatten(1),
            labels.expand_as(scores).flatten(1),
        )

    def equally_wide(self, maps: FeatureMaps) -> list[Tensor]:
        """Levels that both stages look at, fine to coarse."""
        levels = zip(self.laterals, self.levels(maps), strict=True)
        return [layer(level) for layer, level in levels]

    def seen(
        self, levels: Sequence[Tensor], size: tuple[int, int], boxes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the second stage says of some boxes.

        Parameters
        ----------
        levels, size
            Maps, fine to coarse, and height and width of the input, px.
        boxes : Tensor of shape (B, n, 4)
            px.

        Returns
        -------
        logits : Tensor of shape (B, n, n_classes)
            Of the classes, with the background as number 0, float32.
        deltas : Tensor of shape (B, n, 4)
            From the box to the object, whatever its class, float32.
        """
        state = self.box_head(self.regions(levels, boxes_of_images(boxes), size))
        shape = (*boxes.shape[:2], -1)
        return self.classes(state).float().reshape(shape), self.deltas(state).float().reshape(shape)

    def drawn(self, proposed: Tensor, targets: Sequence[Target]) -> Regions:
        """Draw boxes to learn from, of the proposals and the true boxes.

        The true boxes are among them so that there are good ones from the first step on.

        Parameters
        ----------
        proposed : Tensor of shape (B, n, 4)
            px.
        targets : sequence of Target
            One per image.
        """
        rows = [self._drawn(*each) for each in zip(proposed, targets, strict=True)]
        return Regions(*(torch.stack(each) for each in zip(*rows, strict=True)))

    def _drawn(self, proposed: Tensor, target: Target) -> Regions:
        """Draw boxes of an image."""
        boxes = torch.cat((target["boxes"][known_objects(target)], proposed))
        objects = by_iou(boxes, target, low=_IOU, high=_IOU, keeps_best=False)
        # Where there was no further proposal, its box is empty.
        has_area = (boxes[:, 2:] > boxes[:, :2]).all(1)
        objects = torch.where(has_area, objects, LEFT_OUT)
        # Of each image as many, however many objects it has.
        at = drawn(objects, min(self.n_drawn, len(proposed)), _SHARE)
        boxes, objects = boxes[at], objects[at]
        labels, own = torch.zeros_like(objects), boxes.clone()
        is_object = objects >= 0
        labels[is_object] = target["labels"][objects[is_object]]
        own[is_object] = target["boxes"][objects[is_object]]
        return Regions(boxes, objects, labels, own)

    def loss_of_regions(
        self,
        levels: Sequence[Tensor],
        size: tuple[int, int],
        regions: Regions,
        targets: Sequence[Target],
    ) -> Tensor:
        """Loss of classes and boxes, mean over the boxes that are drawn.

        Parameters
        ----------
        levels, size
            Maps, fine to coarse, and height and width of the input, px.
        regions : Regions
            From `drawn`.
        targets : sequence of Target
            One per image; what else of their objects is learnt, other heads read there.
        """
        logits, deltas = self.seen(levels, size, regions.boxes)
        is_known, is_object = regions.objects >= BACKGROUND, regions.objects >= 0
        true = deltas_of(regions.true[is_object], regions.boxes[is_object], _SCALE)
        classes = cross_entropy(logits[is_known], regions.labels[is_known], reduction="sum")
        boxes = smooth_l1_loss(deltas[is_object], true, reduction="sum")
        # The last term gives every weight a gradient, of 0 where nothing is learnt.
        nothing = 0.0 * (logits.sum() + deltas.sum())
        return (classes + boxes) / is_known.sum().clamp(min=1) + nothing


Head = FasterRCNNHead
